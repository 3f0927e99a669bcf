"""Features of boxes, each from the pyramid level that fits its size."""

import math
from typing import Sequence

import torch
from torch import nn

from detectron2.layers import ROIAlign, nonzero_tuple
from detectron2.structures import Boxes


def assign_boxes_to_levels(
    box_lists: Sequence[Boxes],
    min_level: int,
    max_level: int,
    canonical_box_size: int,
    canonical_level: int,
) -> torch.Tensor:
    """FPN, Eq. 1: a box of ``canonical_box_size`` goes to ``canonical_level``, one of twice the
    size to the next.

    Returns:
        (M,) int64 for the M boxes of all images, counted from ``min_level``.
    """
    side = Boxes.cat(list(box_lists)).area().sqrt()
    level = canonical_level + torch.log2(side / canonical_box_size + 1e-8)
    return level.floor().clamp(min=min_level, max=max_level).long() - min_level


def convert_boxes_to_pooler_format(box_lists: Sequence[Boxes]) -> torch.Tensor:
    """(M, 5) rows of (image index, x0, y0, x1, y1) for the M boxes of all images."""
    boxes = torch.cat([boxes.tensor for boxes in box_lists])
    counts = torch.tensor([len(boxes) for boxes in box_lists], device=boxes.device)
    images = torch.arange(len(counts), device=boxes.device).repeat_interleave(
        counts, output_size=len(boxes)
    )
    return torch.cat((images[:, None].to(boxes.dtype), boxes), dim=1)


class ROIPooler(nn.Module):
    """Crops boxes from a feature pyramid to one size."""

    def __init__(
        self,
        output_size: int | tuple[int, int],
        scales: Sequence[float],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ):
        """
        Args:
            output_size: cells of a crop, one number or (height, width).
            scales: 1 / stride of each level, from the finest on, each half of the one before.
            sampling_ratio: see ``ROIAlign``.
            pooler_type: "ROIAlignV2", or "ROIAlign" for the old one that is off by half a cell.
            canonical_box_size, canonical_level: see ``assign_boxes_to_levels``; 224 pixels is the
                size of ImageNet crops.
        """
        super().__init__()
        if pooler_type not in ("ROIAlign", "ROIAlignV2"):
            raise ValueError(
                f"pooler_type must be 'ROIAlign' or 'ROIAlignV2', got {pooler_type!r}."
            )
        levels = [-math.log2(scale) for scale in scales]
        assert all(
            level == levels[0] + step and level.is_integer() for step, level in enumerate(levels)
        ), f"Pooler scales must be powers of 2, each half of the one before, got {list(scales)}."
        size = (output_size, output_size) if isinstance(output_size, int) else output_size
        self.output_size = tuple(size)
        self.min_level, self.max_level = int(levels[0]), int(levels[-1])
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level
        self.level_poolers = nn.ModuleList(
            ROIAlign(self.output_size, scale, sampling_ratio, aligned=pooler_type == "ROIAlignV2")
            for scale in scales
        )

    def forward(self, x: Sequence[torch.Tensor], box_lists: Sequence[Boxes]) -> torch.Tensor:
        """Crop M boxes of N images, in pixels, from one map (N, C, H, W) per level.

        Returns: (M, C, *output_size), the boxes of the first image first; M may be 0.
        """
        assert len(x) == len(self.level_poolers), f"{len(x)} maps for {len(self.level_poolers)}."
        assert len(x[0]) == len(box_lists), f"{len(x[0])} images, {len(box_lists)} lists of boxes."
        rois = convert_boxes_to_pooler_format(box_lists)
        if len(x) == 1:
            return self.level_poolers[0](x[0], rois)
        assigned = assign_boxes_to_levels(
            box_lists, self.min_level, self.max_level, self.canonical_box_size, self.canonical_level
        )
        members = [nonzero_tuple(assigned == level)[0] for level in range(len(x))]
        crops = [pool(m, rois[rows]) for pool, m, rows in zip(self.level_poolers, x, members)]
        # by level -> by image
        return torch.cat(crops)[torch.cat(members).argsort()]
