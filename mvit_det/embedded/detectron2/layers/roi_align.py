"""RoIAlign (He et al., Mask R-CNN, 2017, section 3) as a module."""

import torch
from torch import nn
from torchvision.ops import roi_align


class ROIAlign(nn.Module):
    """Crops boxes from feature maps to a fixed size, by bilinear sampling.

    Args:
        output_size: cells of the crop, one number or (height, width).
        spatial_scale: feature cells per pixel of the box coordinates (1 / stride).
        sampling_ratio: samples per output cell and axis; 0 chooses as many as the box spans.
        aligned: shifts by half a cell, so that pixel centres are at .5, as they should be.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = True,
    ):
        super().__init__()
        self.options = {
            "output_size": output_size,
            "spatial_scale": spatial_scale,
            "sampling_ratio": sampling_ratio,
            "aligned": aligned,
        }

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) and ``rois`` (K, 5), rows of (image index, x0, y0, x1, y1), to
        (K, C, output height, output width) in the dtype of ``input``."""
        return roi_align(input, rois.to(input.dtype), **self.options)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.options.items())
