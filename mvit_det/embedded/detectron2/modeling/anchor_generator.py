"""Anchors: the reference boxes of an RPN."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from detectron2.structures import Boxes


def _per_level(values: Sequence, num_levels: int, name: str) -> list[Sequence[float]]:
    """Expand a config value to one list per level; numbers or a single list apply to all levels."""
    rows = list(values) if isinstance(values[0], Sequence) else [values]
    rows = rows * num_levels if len(rows) == 1 else rows
    assert len(rows) == num_levels, f"Anchor {name} for {len(rows)}, not {num_levels} levels."
    return rows


def _cell_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> torch.Tensor:
    """Return (len(sizes) * len(aspect_ratios), 4) boxes around the origin; ratios vary fastest."""
    widths = [(math.sqrt(size**2 / ratio), ratio) for size in sizes for ratio in aspect_ratios]
    half = torch.tensor([(w / 2, w * ratio / 2) for w, ratio in widths])
    return torch.cat((-half, half), dim=1)


class DefaultAnchorGenerator(nn.Module):
    """Generate boxes of fixed sizes and shapes at each cell of each feature map.

    ``sizes`` are square roots of areas in pixels, ``aspect_ratios`` height / width; a flat list
    applies to all levels. The centre of the first anchor is ``offset`` strides from the corner of
    the image.

    Raises:
        AssertionError: neither one list nor one per level.
    """

    def __init__(
        self, *, sizes: Sequence, aspect_ratios: Sequence, strides: list[int], offset: float = 0.5
    ):
        super().__init__()
        self.strides = list(strides)
        self.offset = offset
        sizes = _per_level(sizes, len(strides), "sizes")
        aspect_ratios = _per_level(aspect_ratios, len(strides), "aspect_ratios")
        self.num_anchors = [len(s) * len(ratios) for s, ratios in zip(sizes, aspect_ratios)]
        for level, row in enumerate(zip(sizes, aspect_ratios)):
            # a buffer, which moves with the model; not saved, because the config determines it
            self.register_buffer(f"cell_anchors{level}", _cell_anchors(*row), persistent=False)

    def forward(self, features: Sequence[torch.Tensor]) -> list[Boxes]:
        """Return H * W * A boxes in pixels for each map (N, C, H, W), by row, column, anchor.

        They may exceed the image.
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
