"""Mask head of Mask R-CNN (He et al., 2017).

Legend: R boxes over all images, K classes, M the mask's side (28 for crops of 14).
"""

from abc import ABCMeta, abstractmethod
from typing import Sequence

import torch
from fvcore.nn import weight_init
from torch import nn
from torch.nn import functional as F

from detectron2.layers import Conv2d, ConvTranspose2d, ShapeSpec
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage, has_event_storage

from .box_head import conv3x3_relu


def _log_accuracy(logits: torch.Tensor, targets: torch.Tensor) -> None:
    """Log shares of pixels: right; wrong among those off the object, and among those on it."""
    wrong = (logits > 0) != targets
    on, off = targets.sum(), (~targets).sum()
    shares = {
        "accuracy": 1 - wrong.sum() / targets.numel(),
        "false_positive": (wrong & ~targets).sum() / off.clamp(min=1),
        "false_negative": (wrong & targets).sum() / on.clamp(min=1),
    }
    storage = get_event_storage()
    for name, share in zip(shares, torch.stack(list(shares.values())).tolist()):
        storage.put_scalar(f"mask_rcnn/{name}", share)


def mask_rcnn_loss(pred_mask_logits: torch.Tensor, instances: Sequence[Instances]) -> torch.Tensor:
    """Mean binary cross entropy over the pixels of the true class's mask.

    Args:
        pred_mask_logits: (R, K, M, M), or (R, 1, M, M) if class-agnostic.
        instances: per image, with ``proposal_boxes``, ``gt_classes`` and ``gt_masks``; images
            without foreground may lack ``gt_masks``.

    Returns:
        A scalar; 0, with a gradient, if there is no box at all.
    """
    present = [inst for inst in instances if len(inst) > 0]
    if not present:
        return pred_mask_logits.sum() * 0
    side = pred_mask_logits.shape[-1]
    targets = torch.cat(
        [inst.gt_masks.crop_and_resize(inst.proposal_boxes.tensor, side) for inst in present]
    ).to(pred_mask_logits.device)
    if pred_mask_logits.shape[1] == 1:
        logits = pred_mask_logits[:, 0]
    else:
        classes = torch.cat([inst.gt_classes for inst in present])
        logits = pred_mask_logits[torch.arange(len(classes), device=classes.device), classes]
    if has_event_storage():
        _log_accuracy(logits.detach(), targets)
    return F.binary_cross_entropy_with_logits(logits, targets.float())


def mask_rcnn_inference(
    pred_mask_logits: torch.Tensor, pred_instances: Sequence[Instances]
) -> None:
    """Set ``pred_masks`` (n, 1, M, M), probabilities of the predicted class's mask.

    Args:
        pred_mask_logits: (R, K, M, M), or (R, 1, M, M) if class-agnostic.
        pred_instances: per image, with ``pred_classes``; R in all.
    """
    counts = [len(inst) for inst in pred_instances]
    if pred_mask_logits.shape[1] > 1:
        classes = torch.cat([inst.pred_classes for inst in pred_instances])
        rows = torch.arange(len(classes), device=classes.device)
        pred_mask_logits = pred_mask_logits[rows, classes][:, None]
    for inst, masks in zip(pred_instances, pred_mask_logits.sigmoid().split(counts)):
        inst.pred_masks = masks


class BaseMaskRCNNHead(nn.Module, metaclass=ABCMeta):
    """The loss and the inference of any mask head; a subclass brings the ``layers``."""

    def __init__(self, *, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    @abstractmethod
    def layers(self, x: torch.Tensor) -> torch.Tensor:
        """(R, C, h, w) crops -> (R, K, M, M) logits."""

    def forward(
        self, x: torch.Tensor, instances: list[Instances]
    ) -> dict[str, torch.Tensor] | list[Instances]:
        """Args: ``x`` (R, C, h, w); ``instances`` per image, R in all.

        Returns:
            In training {"loss_mask": scalar}; else ``instances``, now with ``pred_masks``.
        """
        logits = self.layers(x)
        if self.training:
            return {"loss_mask": mask_rcnn_loss(logits, instances) * self.loss_weight}
        mask_rcnn_inference(logits, instances)
        return instances


class MaskRCNNConvUpsampleHead(BaseMaskRCNNHead, nn.Sequential):
    """3x3 convolutions, a transposed one that doubles the resolution, a 1x1 per class.

    Parameters are ``mask_fcn1.*``, ..., ``deconv.*``, ``predictor.*``.
    """

    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        conv_dims: Sequence[int],
        conv_norm: str = "",
        loss_weight: float = 1.0,
    ):
        """
        Args:
            input_shape: of a crop; only the channels matter.
            num_classes: 1 makes the head class-agnostic.
            conv_dims: widths of the 3x3 convolutions, and last that of the transposed one.
            conv_norm: of the 3x3 convolutions, see ``conv3x3_relu``.
        """
        super().__init__(loss_weight=loss_weight)
        assert len(conv_dims) >= 1, "conv_dims must at least hold the width of the deconvolution."
        width = input_shape.channels
        for k, dim in enumerate(conv_dims[:-1], start=1):
            self.add_module(f"mask_fcn{k}", conv3x3_relu(width, dim, conv_norm))
            width = dim
        self.deconv = ConvTranspose2d(width, conv_dims[-1], kernel_size=2, stride=2)
        self.add_module("deconv_relu", nn.ReLU())
        filled = [layer for layer in self if hasattr(layer, "weight")]
        self.predictor = Conv2d(conv_dims[-1], num_classes, kernel_size=1)
        for layer in filled:
            weight_init.c2_msra_fill(layer)
        # small, so that masks start undecided
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        return nn.Sequential.forward(self, x)
