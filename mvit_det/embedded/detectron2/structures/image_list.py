"""Images of several sizes in one padded batch."""

from typing import Any, Mapping, Sequence

import torch
from torch.nn import functional as F


class ImageList:
    """A batch of images, padded at the bottom and the right to one size.

    Attributes:
        tensor: (N, H, W) or (N, C, H, W), padding included.
        image_sizes: (height, width) of each image without padding.
    """

    def __init__(self, tensor: torch.Tensor, image_sizes: list[tuple[int, int]]):
        self.tensor = tensor
        self.image_sizes = image_sizes

    @staticmethod
    def from_tensors(
        tensors: Sequence[torch.Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: Mapping[str, int] | None = None,
    ) -> "ImageList":
        """Pad and stack images (H_i, W_i) or (C, H_i, W_i).

        Args:
            size_divisibility: the batch's height and width become multiples of it (0: any).
            padding_constraints: of a backbone. ``size_divisibility`` there replaces the argument;
                ``square_size`` (if positive) fixes height and width.

        Raises:
            ValueError: if an image is larger than ``square_size``.
        """
        assert len(tensors) > 0, "Cannot make a batch of no images."
        constraints = padding_constraints or {}
        multiple = max(constraints.get("size_divisibility", size_divisibility), 1)
        sizes = [tuple(int(side) for side in image.shape[-2:]) for image in tensors]
        height, width = (max(sides) for sides in zip(*sizes))
        square = constraints.get("square_size", 0)
        if square > 0:
            if max(height, width) > square:
                raise ValueError(
                    f"An image of {height}x{width} does not fit the backbone's square input of "
                    f"{square}: resize the images or raise square_pad."
                )
            height = width = square
        height, width = (-(-side // multiple) * multiple for side in (height, width))
        batch = torch.stack(
            [
                F.pad(t, (0, width - w, 0, height - h), value=pad_value)
                for t, (h, w) in zip(tensors, sizes)
            ]
        )
        return ImageList(batch, sizes)

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def to(self, *args: Any, **kwargs: Any) -> "ImageList":
        """As ``Tensor.to``."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, idx: int) -> torch.Tensor:
        """One image without its padding, a view."""
        height, width = self.image_sizes[idx]
        return self.tensor[idx].narrow(-2, 0, height).narrow(-1, 0, width)
