"""Anchors: the boxes that an RPN starts from."""

import math
from typing import Sequence

import torch
from torch import nn

from detectron2.structures import Boxes


def _per_level(values: Sequence, num_levels: int, name: str) -> list[list[float]]:
    """Spread a config value over feature levels: numbers, or one list, serve all of them."""
    assert len(values) > 0, f"Anchor {name} must not be empty."
    rows = values if isinstance(values[0], Sequence) else [values]
    if len(rows) == 1:
        rows = list(rows) * num_levels
    assert len(rows) == num_levels, f"Anchor {name} for {len(rows)} of {num_levels} levels."
    return [list(row) for row in rows]


class DefaultAnchorGenerator(nn.Module):
    """Boxes of fixed sizes and shapes at each cell of each feature map."""

    box_dim = 4

    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]] | Sequence[float],
        aspect_ratios: Sequence[Sequence[float]] | Sequence[float],
        strides: Sequence[int],
        offset: float = 0.5,
    ):
        """
        Args:
            sizes: square roots of the areas in pixels, per level; a flat list is for all levels.
            aspect_ratios: height / width, per level; a flat list is for all levels.
            strides: of the feature maps, in pixels.
            offset: of the first anchor's centre from the image's corner, in strides, in [0, 1).
        """
        super().__init__()
        assert 0.0 <= offset < 1.0, f"The anchor offset must be in [0, 1), got {offset}."
        self.strides = list(strides)
        self.offset = offset
        self.num_anchors = []
        levels = zip(
            _per_level(sizes, len(strides), "sizes"),
            _per_level(aspect_ratios, len(strides), "aspect_ratios"),
        )
        for level, (level_sizes, ratios) in enumerate(levels):
            anchors = self.generate_cell_anchors(level_sizes, ratios)
            # a buffer, so that it moves with the model; computed from the config, so never saved
            self.register_buffer(f"cell_anchors{level}", anchors, persistent=False)
            self.num_anchors.append(len(anchors))

    @staticmethod
    def generate_cell_anchors(
        sizes: Sequence[float], aspect_ratios: Sequence[float]
    ) -> torch.Tensor:
        """(len(sizes) * len(aspect_ratios), 4) boxes around the origin; ratios vary fastest."""
        widths = [(math.sqrt(size**2 / ratio), ratio) for size in sizes for ratio in aspect_ratios]
        half = torch.tensor([(w / 2, w * ratio / 2) for w, ratio in widths])
        return torch.cat((-half, half), dim=1)

    def forward(self, features: Sequence[torch.Tensor]) -> list[Boxes]:
        """Place the anchors.

        Args:
            features: one map (N, C, H, W) per level.

        Returns:
            Per level H * W * A boxes in pixels, ordered by row, column, anchor. They may reach
            beyond the image.
        """
        boxes = []
        for level, (feature, stride) in enumerate(zip(features, self.strides)):
            cell = self.get_buffer(f"cell_anchors{level}")
            y, x = (
                (torch.arange(length, dtype=cell.dtype, device=cell.device) + self.offset) * stride
                for length in feature.shape[-2:]
            )
            centers = torch.cartesian_prod(y, x).flip(1)  # (H * W, 2), x first
            boxes.append(Boxes((centers.repeat(1, 2)[:, None] + cell).flatten(0, 1)))
        return boxes
