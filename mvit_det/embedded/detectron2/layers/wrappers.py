"""Building blocks of models: shapes, convolutions with norm, RoIAlign, NMS."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchvision.ops import RoIAlign
from torchvision.ops import boxes as box_ops


@dataclass
class ShapeSpec:
    """The shape of a feature map: ``stride`` in input pixels; ``height`` and ``width`` in cells."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


class Conv2d(nn.Conv2d):
    """A convolution, then ``norm`` (parameters ``<conv>.norm.*``), then ``activation``."""

    def __init__(self, *args: Any, norm=None, activation=None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) -> (N, C', H', W')."""
        for step in (super().forward, self.norm, self.activation):
            x = x if step is None else step(x)
        return x


class ROIAlign(RoIAlign):
    """RoIAlign of one map (Mask R-CNN, section 3).

    Boxes are scaled by ``spatial_scale`` to cells, and shifted by half a cell if ``aligned``;
    ``sampling_ratio`` 0 adapts to the size of a box.
    """

    def __init__(
        self, output_size: Any, spatial_scale: float, sampling_ratio: int, aligned: bool = True
    ):
        super().__init__(output_size, spatial_scale, sampling_ratio, aligned)

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """Crop a map (N, C, H, W) to M boxes.

        ``rois`` are (M, 5): index of the image, XYXY in pixels. Returns (M, C, *output_size).
        """
        return super().forward(input, rois.to(input.dtype))


def batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """Suppress boxes (N, 4) XYXY that overlap a box of higher score and equal ``idxs``.

    ``scores`` and ``idxs`` (classes or levels) are (N,). Returns the indices of the remaining
    boxes, in descending order of score.
    """
    # float: half precision cannot distinguish neighbouring pixels of a large image
    return box_ops.batched_nms(boxes.float(), scores.float(), idxs, iou_threshold)
