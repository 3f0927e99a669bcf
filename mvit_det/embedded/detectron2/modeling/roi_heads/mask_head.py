"""Mask head of Mask R-CNN (He et al., 2017).

Legend: R boxes over all images, K classes, M the side of a mask (28 for crops of 14).
"""

from collections.abc import Sequence
from typing import Any

import torch
from fvcore.nn import weight_init
from torch import nn
from torch.nn import functional as F

from detectron2.layers import Conv2d, ShapeSpec
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage

from .box_head import conv3x3_relu

# In training losses by name, dict[str, torch.Tensor]; in evaluation list[Instances].
LossesOrInstances = Any


def _select_class(logits: torch.Tensor, classes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Map (R, K, M, M) -> (R, M, M): the mask of the class of each box, or the only mask."""
    labels = torch.cat(list(classes))
    rows = torch.arange(labels.shape[0], device=labels.device)
    return logits[rows, labels if logits.shape[1] > 1 else 0]


def _log_accuracy(logits: torch.Tensor, targets: torch.Tensor) -> None:
    """Record the accuracy of pixels, and the rates of false positives and false negatives."""
    wrong = (logits > 0) != targets
    positive, negative = targets.sum(), (~targets).sum()
    rates = {
        "accuracy": 1 - wrong.sum() / targets.numel(),
        "false_positive": (wrong & ~targets).sum() / negative.clamp(min=1),
        "false_negative": (wrong & targets).sum() / positive.clamp(min=1),
    }
    storage = get_event_storage()
    for name, rate in zip(rates, torch.stack(list(rates.values())).tolist()):
        storage.put_scalar(f"mask_rcnn/{name}", rate)


def mask_rcnn_loss(pred_mask_logits: torch.Tensor, instances: Sequence[Instances]) -> torch.Tensor:
    """Return the mean binary cross entropy over the pixels of the mask of the true class.

    ``pred_mask_logits`` are (R, K or 1, M, M); ``instances`` have proposal_boxes, gt_classes and,
    if there are any boxes, gt_masks. Without boxes the loss is 0, with a gradient.
    """
    nonempty = [inst for inst in instances if len(inst) > 0]
    if not nonempty:
        return pred_mask_logits.sum() * 0
    side = pred_mask_logits.shape[-1]
    targets = torch.cat(
        [inst.gt_masks.crop_and_resize(inst.proposal_boxes.tensor, side) for inst in nonempty]
    )
    logits = _select_class(pred_mask_logits, [inst.gt_classes for inst in nonempty])
    _log_accuracy(logits.detach(), targets)
    return F.binary_cross_entropy_with_logits(logits, targets.float())


class MaskRCNNConvUpsampleHead(nn.Sequential):
    """Predict a mask per class: 3x3 convolutions, a transposed one (x2), a 1x1 one.

    ``conv_dims`` are the channels of the 3x3 convolutions, which have ``conv_norm``, and last those
    of the transposed one, which doubles the resolution.
    """

    def __init__(
        self, input_shape: ShapeSpec, *, num_classes: int, conv_dims: list[int], conv_norm: str = ""
    ):
        super().__init__()
        width = input_shape.channels
        assert width is not None, "input_shape needs channels."
        for k, dim in enumerate(conv_dims[:-1], start=1):
            self.add_module(f"mask_fcn{k}", conv3x3_relu(width, dim, conv_norm))
            width = dim
        self.deconv = nn.ConvTranspose2d(width, conv_dims[-1], kernel_size=2, stride=2)
        self.deconv_relu = nn.ReLU()
        self.predictor = Conv2d(conv_dims[-1], num_classes, kernel_size=1)
        for layer in list(self)[:-1]:
            if hasattr(layer, "weight"):
                weight_init.c2_msra_fill(layer)
        # small, so that initial probabilities are about 0.5
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)  # type: ignore[arg-type]  # not None

    def forward(self, x: torch.Tensor, instances: list[Instances]) -> LossesOrInstances:  # type: ignore[override]  # two arguments
        """Map crops (R, C, h, w) of all images to the loss, or to masks in evaluation.

        Then ``instances`` get ``pred_masks`` (n, 1, M, M), probabilities for ``pred_classes``.
        """
        logits = super().forward(x)
        if self.training:
            return {"loss_mask": mask_rcnn_loss(logits, instances)}
        probabilities = _select_class(logits, [inst.pred_classes for inst in instances]).sigmoid()
        counts = [inst.pred_classes.shape[0] for inst in instances]
        for inst, masks in zip(instances, probabilities[:, None].split(counts)):
            inst.pred_masks = masks
        return instances
