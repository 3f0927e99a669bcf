"""Features of boxes, each from the pyramid level for its size."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from detectron2.layers import ROIAlign
from detectron2.structures import Boxes


def assign_boxes_to_levels(
    box_lists: Sequence[Boxes], min_level, max_level, canonical_box_size, canonical_level
) -> torch.Tensor:
    """Assign the M boxes of all images to levels (Lin et al., FPN, 2017, equation 1).

    A box of ``canonical_box_size`` pixels has ``canonical_level``, a box of twice the size the next
    one. Returns (M,) int64, counted from ``min_level``.
    """
    side = Boxes.cat(box_lists).area().sqrt()
    level = canonical_level + torch.log2(side / canonical_box_size + 1e-8)
    return level.floor().clamp(min=min_level, max=max_level).long() - min_level


class ROIPooler(nn.Module):
    """Crop boxes from a feature pyramid to one size by RoIAlign (Mask R-CNN, section 3).

    ``scales`` are 1 / stride of each level, finest first. ``sampling_ratio`` is the number of
    samples per cell and axis; 0 adapts it to the box. The canonical box is ImageNet's crop.

    Raises:
        ValueError: another ``pooler_type`` than "ROIAlignV2".
        AssertionError: scales that do not halve.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        scales: Sequence[float],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ):
        super().__init__()
        if pooler_type != "ROIAlignV2":
            raise ValueError(f"pooler_type must be 'ROIAlignV2', got {pooler_type!r}.")
        finest = round(-math.log2(scales[0]))
        expected = [0.5 ** (finest + step) for step in range(len(scales))]
        assert list(scales) == expected, f"Pooler scales must halve from level to level: {scales}."
        self.level_poolers = nn.ModuleList(
            ROIAlign(output_size, scale, sampling_ratio) for scale in scales
        )
        self.level_range = finest, finest + len(scales) - 1
        self.canonical = canonical_box_size, canonical_level

    def forward(
        self,
        x: Sequence[torch.Tensor],
        box_lists: Sequence[Boxes],
        images: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Crop M boxes of N images from a map (N, C, H, W) per level -> (M, C, *output_size).

        ``images`` (M,) are those of the boxes if ``box_lists`` has one entry for all images.
        """
        assert len(x) == len(self.level_poolers), f"{len(x)} maps do not match the scales."
        boxes = Boxes.cat(box_lists).tensor
        if images is None:
            images = torch.cat([b.tensor.new_full((len(b),), i) for i, b in enumerate(box_lists)])
        rois = torch.cat((images[:, None].to(boxes.dtype), boxes), dim=1)  # (M, 5)
        assigned = assign_boxes_to_levels(box_lists, *self.level_range, *self.canonical)
        members = [(assigned == level).nonzero()[:, 0] for level in range(len(x))]
        crops = [pool(m, rois[rows]) for m, pool, rows in zip(x, self.level_poolers, members)]
        # by level -> by image
        return torch.cat(crops)[torch.cat(members).argsort()]
