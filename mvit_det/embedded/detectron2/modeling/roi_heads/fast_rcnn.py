"""The box predictor of Fast R-CNN (Girshick, 2015): classes and boxes of proposals.

Legend: R proposals over all images, R_i of image i, K classes (K itself stands for background).
"""

from typing import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from detectron2.layers import Linear, ShapeSpec, batched_nms, cross_entropy, nonzero_tuple
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage, has_event_storage

from ..box_regression import Box2BoxTransform, box_regression_loss


def fast_rcnn_inference_single_image(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[Instances, torch.Tensor]:
    """Choose the detections of one image.

    Args:
        boxes: (R_i, K * 4), or (R_i, 4) if class-agnostic; XYXY.
        scores: (R_i, K + 1) probabilities. Rows with Inf or NaN, there or in boxes, drop out.
        image_shape: (height, width); boxes are clipped to it.
        score_thresh: scores must be higher.
        nms_thresh: IoU from which on the worse of two boxes of one class goes.
        topk_per_image: how many remain; all if negative.

    Returns:
        Instances with ``pred_boxes``, ``scores`` and ``pred_classes``, best first.
        The row of ``boxes`` that each came from.
    """
    finite = boxes.isfinite().all(dim=1) & scores.isfinite().all(dim=1)
    rows, classes = nonzero_tuple((scores[:, :-1] > score_thresh) & finite[:, None])
    per_class = boxes.unflatten(1, (-1, 4))  # (R_i, K or 1, 4)
    candidates = Boxes(per_class[rows, classes if per_class.shape[1] > 1 else 0])
    candidates.clip(image_shape)
    found = Instances(
        image_shape, pred_boxes=candidates, scores=scores[rows, classes], pred_classes=classes
    )
    keep = batched_nms(candidates.tensor, found.scores, classes, nms_thresh)
    if topk_per_image >= 0:
        keep = keep[:topk_per_image]
    return found[keep], rows[keep]


def fast_rcnn_inference(
    boxes: Sequence[torch.Tensor],
    scores: Sequence[torch.Tensor],
    image_shapes: Sequence[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[list[Instances], list[torch.Tensor]]:
    """``fast_rcnn_inference_single_image`` for each image."""
    chosen = [
        fast_rcnn_inference_single_image(*image, score_thresh, nms_thresh, topk_per_image)
        for image in zip(boxes, scores, image_shapes)
    ]
    return [found for found, _ in chosen], [rows for _, rows in chosen]


def _log_classification_stats(logits: torch.Tensor, gt_classes: torch.Tensor) -> None:
    """Log the accuracy over all proposals; over foreground, and how much of it was missed."""
    if gt_classes.numel() == 0 or not has_event_storage():
        return
    background = logits.shape[1] - 1
    predicted = logits.argmax(dim=1)
    right, foreground = predicted == gt_classes, gt_classes != background
    missed = foreground & (predicted == background)
    counts = torch.stack((right.sum(), foreground.sum(), (right & foreground).sum(), missed.sum()))
    num_right, num_fg, num_fg_right, num_missed = counts.tolist()
    storage = get_event_storage()
    storage.put_scalar("fast_rcnn/cls_accuracy", num_right / gt_classes.numel())
    if num_fg > 0:
        storage.put_scalar("fast_rcnn/fg_cls_accuracy", num_fg_right / num_fg)
        storage.put_scalar("fast_rcnn/false_negative", num_missed / num_fg)


class FastRCNNOutputLayers(nn.Module):
    """Two linear layers, one for the classes and one for the boxes; their losses and inference."""

    def __init__(
        self,
        input_shape: ShapeSpec | int,
        *,
        num_classes: int,
        cls_agnostic_bbox_reg: bool = False,
        box2box_transform: Box2BoxTransform,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
        loss_weight: float | Mapping[str, float] = 1.0,
        test_score_thresh: float = 0.0,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
    ):
        """
        Args:
            input_shape: of the features of one proposal.
            num_classes: K, without background.
            cls_agnostic_bbox_reg: one box for all classes, not one for each.
            box_reg_loss_type, smooth_l1_beta: see ``box_regression_loss``.
            loss_weight: one for both losses, or by name (``loss_cls``, ``loss_box_reg``).
            test_*: see ``fast_rcnn_inference_single_image``.
        """
        super().__init__()
        width = input_shape
        if isinstance(input_shape, ShapeSpec):
            width = input_shape.channels * (input_shape.height or 1) * (input_shape.width or 1)
        self.cls_score = Linear(width, num_classes + 1)
        self.bbox_pred = Linear(width, 4 if cls_agnostic_bbox_reg else 4 * num_classes)
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
        self.num_classes = num_classes
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        self.box2box_transform = box2box_transform
        self.box_reg_loss_type = box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta
        if isinstance(loss_weight, (int, float)):
            loss_weight = dict.fromkeys(("loss_cls", "loss_box_reg"), loss_weight)
        self.loss_weight = loss_weight

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(R, ...) features -> (R, K + 1) logits, (R, K * 4) or (R, 4) deltas."""
        x = x.flatten(start_dim=1)
        return self.cls_score(x), self.bbox_pred(x)

    def losses(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> dict[str, torch.Tensor]:
        """Cross entropy over all proposals, box regression over the foreground.

        Of each image the ``proposal_boxes``, ``gt_classes`` and, if it has objects, ``gt_boxes``.
        """
        logits, deltas = predictions
        gt_classes = torch.cat([p.gt_classes for p in proposals])
        boxes = torch.cat([p.proposal_boxes.tensor for p in proposals])
        gt_boxes = torch.cat(
            [(p.gt_boxes if p.has("gt_boxes") else p.proposal_boxes).tensor for p in proposals]
        )
        _log_classification_stats(logits.detach(), gt_classes)
        losses = {
            "loss_cls": cross_entropy(logits, gt_classes),
            "loss_box_reg": self.box_reg_loss(boxes, gt_boxes, deltas, gt_classes),
        }
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def box_reg_loss(
        self,
        proposal_boxes: torch.Tensor,
        gt_boxes: torch.Tensor,
        pred_deltas: torch.Tensor,
        gt_classes: torch.Tensor,
    ) -> torch.Tensor:
        """Sum over the foreground, divided by the number of all proposals: so a foreground box
        weighs the same whether there are few of them or many."""
        (rows,) = nonzero_tuple((gt_classes >= 0) & (gt_classes < self.num_classes))
        per_class = pred_deltas.unflatten(1, (-1, 4))  # (R, K or 1, 4)
        loss = box_regression_loss(
            self.box2box_transform,
            proposal_boxes[rows],
            per_class[rows, gt_classes[rows] if per_class.shape[1] > 1 else 0],
            gt_boxes[rows],
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        return loss / max(gt_classes.numel(), 1)

    def inference(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> tuple[list[Instances], list[torch.Tensor]]:
        """Detections of each image and the proposals they came from, see
        ``fast_rcnn_inference_single_image``."""
        return fast_rcnn_inference(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [p.image_size for p in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
        )

    def predict_boxes(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> tuple[torch.Tensor, ...]:
        """Per image (R_i, K * 4) or (R_i, 4) boxes, XYXY."""
        starts = torch.cat([p.proposal_boxes.tensor for p in proposals])
        boxes = self.box2box_transform.apply_deltas(predictions[1], starts)
        return boxes.split([len(p) for p in proposals])

    def predict_probs(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: Sequence[Instances]
    ) -> tuple[torch.Tensor, ...]:
        """Per image (R_i, K + 1) probabilities."""
        return F.softmax(predictions[0], dim=-1).split([len(p) for p in proposals])
