"""Mask head of Mask R-CNN (He et al., 2017).

Legend: R boxes over all images, K classes, M the mask's side (28 for crops of 14).
"""

from collections.abc import Sequence

import torch
from fvcore.nn import weight_init
from torch import nn
from torch.nn import functional as F

from detectron2.layers import Conv2d, ShapeSpec
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage

from .box_head import conv3x3_relu

LossesOrInstances = dict[str, torch.Tensor] | list[Instances]


def _of_class(logits: torch.Tensor, classes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Map (R, K, M, M) -> (R, M, M): each box's mask for its class; the only one if K is 1."""
    classes = torch.cat(list(classes))
    rows = torch.arange(len(classes), device=classes.device)
    return logits[rows, classes if logits.shape[1] > 1 else 0]


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
    """Mean binary cross entropy over the pixels of the true class's mask, (R, K or 1, M, M).

    Images without foreground may lack ``gt_masks``. Without any box it is 0, with a gradient.
    """
    present = [inst for inst in instances if len(inst) > 0]
    if not present:
        return pred_mask_logits.sum() * 0
    side = pred_mask_logits.shape[-1]
    targets = torch.cat(
        [inst.gt_masks.crop_and_resize(inst.proposal_boxes.tensor, side) for inst in present]
    )
    logits = _of_class(pred_mask_logits, [inst.gt_classes for inst in present])
    _log_accuracy(logits.detach(), targets)
    return F.binary_cross_entropy_with_logits(logits, targets.float())


class MaskRCNNConvUpsampleHead(nn.Sequential):
    """3x3 convolutions, a transposed one that doubles the resolution, a 1x1 per class.

    ``conv_dims`` are the widths of the former, with ``conv_norm``, and last of the transposed one.
    """

    def __init__(
        self, input_shape: ShapeSpec, *, num_classes: int, conv_dims: list[int], conv_norm: str = ""
    ):
        super().__init__()
        width = input_shape.channels
        for k, dim in enumerate(conv_dims[:-1], start=1):
            self.add_module(f"mask_fcn{k}", conv3x3_relu(width, dim, conv_norm))
            width = dim
        self.deconv = nn.ConvTranspose2d(width, conv_dims[-1], kernel_size=2, stride=2)
        self.deconv_relu = nn.ReLU()
        self.predictor = Conv2d(conv_dims[-1], num_classes, kernel_size=1)
        for layer in list(self)[:-1]:
            if hasattr(layer, "weight"):
                weight_init.c2_msra_fill(layer)
        # small, so that masks start undecided
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, x: torch.Tensor, instances: list[Instances]) -> LossesOrInstances:
        """From crops (R, C, h, w), of all images, the loss; or, in evaluation, ``instances`` with
        ``pred_masks`` (n, 1, M, M), probabilities of the mask of ``pred_classes``."""
        logits = super().forward(x)
        if self.training:
            return {"loss_mask": mask_rcnn_loss(logits, instances)}
        probabilities = _of_class(logits, [inst.pred_classes for inst in instances]).sigmoid()
        counts = [len(inst) for inst in instances]
        for inst, masks in zip(instances, probabilities[:, None].split(counts)):
            inst.pred_masks = masks
        return instances
