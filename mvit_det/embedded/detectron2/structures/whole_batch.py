"""All images of a batch as one `Instances`, for `torch.export`.

A program has no list whose length is the number of images. So while exporting, the lists of
``Instances`` in proposal generators and heads have one entry, the boxes of all images, whose
``image_size`` is a `BatchSizes`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


def is_exporting() -> bool:
    """Return whether `torch.export` traces: the numbers of images and of boxes are then symbols."""
    return getattr(torch.compiler, "is_exporting", bool)()  # torch 2.6 lacks it


@dataclass
class BatchSizes:
    """The sizes of all images of a batch, and the image of each box.

    ``sizes`` are (N, 2): height, width; ``image`` is (M,) for M boxes. An index selects boxes.
    """

    sizes: torch.Tensor
    image: torch.Tensor

    def __getitem__(self, rows: Any) -> "BatchSizes":
        return BatchSizes(self.sizes, self.image[rows])

    def clip(self, boxes: torch.Tensor) -> torch.Tensor:
        """Clip boxes (M, 4), each to its image."""
        limits = self.sizes.flip(1).repeat(1, 2)[self.image].to(boxes.dtype)
        return boxes.clamp(min=0).minimum(limits)

    def separate(self, boxes: torch.Tensor, groups: torch.Tensor, num_groups: int) -> torch.Tensor:
        """Shift clipped boxes (M, 4) so that those of different images or groups never overlap.

        Groups are placed in a square, not in a row, to keep the shifts small: at 100,000 pixels
        float32 has steps of 1/128 pixel, which matter for the overlaps of small boxes.
        """
        side = math.ceil(math.sqrt(num_groups))
        place = torch.stack(
            (groups % side, self.image * side + groups.div(side, rounding_mode="floor")), dim=1
        )
        extent = self.sizes.max() + 1
        return boxes + (place * extent).to(boxes.dtype).repeat(1, 2)

    def is_among_first(self, rows: torch.Tensor, count: int) -> torch.Tensor:
        """Return which of the ``rows`` (K,), best first, are among the ``count`` of their image."""
        image = self.image[rows]
        same = image[:, None] == torch.arange(self.sizes.shape[0], device=image.device)
        rank = (same.long().cumsum(0) * same).sum(dim=1)
        return rank <= count


def images_of(instances: Sequence[Any]) -> tuple[torch.Tensor, ...]:
    """Return the image (M,) of each box in a tuple if there is one entry for the whole batch."""
    return tuple(x.image_size.image for x in instances if isinstance(x.image_size, BatchSizes))
