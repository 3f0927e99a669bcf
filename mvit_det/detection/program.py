"""A detector as a function of tensors alone, which `torch.export` traces."""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.structures import ImageList
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


class DetectorProgram(nn.Module):
    """Detect the objects of a padded batch of images, by the modules of a `GeneralizedRCNN`.

    Args:
        model: plain testing: without Soft-NMS and views. It is copied, not changed.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = fuse_norms(deepcopy(model))
        self.multiple = max(model.backbone.size_divisibility, 1)

    def forward(self, images: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Detect objects.

        Args:
            images: (N, C, H, W), 0 to 255, padded at the bottom and the right with any value.
            sizes: (N, 2) int64, height and width without padding.

        Returns:
            image (M,) int64, the index of the image of each object; boxes (M, 4) XYXY in pixels of
            the images; scores (M,); classes (M,) int64; with masks also masks (M, side, side),
            probabilities over the box. The objects of each image are in order of score.
        """
        batch = ImageList(self.normalise(images, sizes), sizes)
        features = self.model.backbone(batch.tensor)
        proposals, _ = self.model.proposal_generator(batch, features)
        (found,), _ = self.model.roi_heads(batch, features, proposals)
        outputs = found.image_size.image, found.pred_boxes.tensor, found.scores, found.pred_classes
        return (*outputs, found.pred_masks[:, 0]) if found.has("pred_masks") else outputs

    def normalise(self, images: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """Normalise images and pad them with zeros to a multiple of the coarsest stride."""
        height, width = images.shape[-2:]
        rows, columns = (
            torch.arange(n, device=sizes.device) < sizes[:, axis, None]
            for axis, n in enumerate((height, width))
        )
        inside = (rows[:, :, None] & columns[:, None, :])[:, None]
        pixels = (images - self.model.pixel_mean) / self.model.pixel_std
        padding = [-(-n // self.multiple) * self.multiple - n for n in (height, width)]
        return F.pad(pixels * inside.to(pixels.dtype), (0, padding[1], 0, padding[0]))


def fuse_norms(model: Any) -> Any:
    """Fuse the batch norms of convolutions into their weights, in place.

    Runtimes do so anyway, and the tracer asks of a batch norm whether its input, the crops of an
    unknown number of boxes, is empty.
    """
    for conv in model.modules():
        norm = getattr(conv, "norm", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
            conv.norm = None
    return model
