"""The box predictor of Fast R-CNN (Girshick, 2015): classes and boxes of proposals.

Legend: R proposals over all images, R_i of image i, K classes (K itself stands for background).
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances
from detectron2.structures.whole_batch import BatchSizes
from detectron2.utils.events import get_event_storage

from ..arguments import ArgumentsModule
from ..box_regression import Box2BoxTransform
from ..selection import nms_and_best

PerImage = Sequence[Instances]
PerImageTensors = tuple[torch.Tensor, ...]
Predictions = tuple[torch.Tensor, torch.Tensor]  # logits (R, K + 1), deltas (R, K * 4) or (R, 4)


def fast_rcnn_inference(
    boxes, scores, image_shapes, score_thresh, nms_thresh, topk_per_image
) -> tuple[list[Instances], list[torch.Tensor]]:
    """Select detections by score threshold, NMS within classes, and number, for each image.

    ``boxes`` are (R_i, K * 4) or (R_i, 4) XYXY in pixels, ``scores`` (R_i, K + 1) probabilities.
    Returns detections, best first, and the row of each. Boxes are clipped to ``image_shapes``,
    (height, width); rows with Inf or NaN are dropped.
    """
    results, origins = [], []
    for image_boxes, image_scores, image_shape in zip(boxes, scores, image_shapes):
        finite = image_boxes.isfinite().all(dim=1) & image_scores.isfinite().all(dim=1)
        selected = (image_scores[:, :-1] > score_thresh) & finite[:, None]
        rows, classes = selected.nonzero(as_tuple=True)
        per_class = image_boxes.unflatten(1, (-1, 4))  # (R_i, K or 1, 4)
        candidates = Boxes(per_class[rows, classes if per_class.shape[1] > 1 else 0])
        if isinstance(image_shape, BatchSizes):
            image_shape = image_shape[rows]
        candidates.clip(image_shape)
        detections = Instances(image_shape, pred_boxes=candidates, pred_classes=classes)
        detections.scores = image_scores[rows, classes]
        choice = nms_thresh, topk_per_image, image_shape, selected.shape[1]
        keep = nms_and_best(candidates.tensor, detections.scores, classes, *choice)
        results.append(detections[keep])
        origins.append(rows[keep])
    return results, origins


def _log_classification_stats(logits: torch.Tensor, gt_classes: torch.Tensor) -> None:
    """Record the accuracy over all proposals and over foreground, and the missed foreground."""
    background = logits.shape[1] - 1
    predicted = logits.argmax(dim=1)
    correct, foreground = predicted == gt_classes, gt_classes != background
    missed = foreground & (predicted == background)
    sums = correct.sum(), foreground.sum(), (correct & foreground).sum(), missed.sum()
    num_correct, num_fg, num_fg_correct, num_missed = torch.stack(sums).tolist()
    storage = get_event_storage()
    if len(gt_classes) > 0:
        storage.put_scalar("fast_rcnn/cls_accuracy", num_correct / len(gt_classes))
    for name, count in (("fg_cls_accuracy", num_fg_correct), ("false_negative", num_missed)):
        if num_fg > 0:
            storage.put_scalar(f"fast_rcnn/{name}", count / num_fg)


class FastRCNNOutputLayers(ArgumentsModule):
    """Linear layers for classes and boxes; their losses and inference.

    ``cls_agnostic_bbox_reg``: one box for all classes. ``test_*``: see ``fast_rcnn_inference``.
    """

    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        cls_agnostic_bbox_reg: bool = False,
        box2box_transform: Box2BoxTransform,
        test_score_thresh: float = 0.0,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
    ):
        super().__init__()
        self._set_arguments(locals(), skip="input_shape")
        assert input_shape.channels is not None, "input_shape needs channels."
        width = input_shape.channels * (input_shape.height or 1) * (input_shape.width or 1)
        self.cls_score = nn.Linear(width, num_classes + 1)
        self.bbox_pred = nn.Linear(width, 4 if cls_agnostic_bbox_reg else 4 * num_classes)
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> Predictions:
        """Map (R, ...) features -> (R, K + 1) logits, (R, K * 4) or (R, 4) deltas."""
        x = x.flatten(start_dim=1)
        return self.cls_score(x), self.bbox_pred(x)

    def losses(self, predictions: Predictions, proposals: PerImage) -> dict[str, torch.Tensor]:
        """Return the cross entropy over all proposals and the L1 loss of foreground deltas.

        Both are divided by the number of all proposals, so that the weight of a foreground box does
        not depend on the number of foreground boxes.
        """
        logits, deltas = predictions
        gt_classes = torch.cat([p.gt_classes for p in proposals])
        _log_classification_stats(logits.detach(), gt_classes)
        boxes = torch.cat([p.proposal_boxes.tensor for p in proposals])
        # an image without objects has no gt_boxes and no foreground
        gt_boxes = torch.cat(
            [(p.gt_boxes if p.has("gt_boxes") else p.proposal_boxes).tensor for p in proposals]
        )
        rows = ((gt_classes >= 0) & (gt_classes < self.num_classes)).nonzero()[:, 0]
        per_class = deltas.unflatten(1, (-1, 4))  # (R, K or 1, 4)
        deltas = per_class[rows, gt_classes[rows] if per_class.shape[1] > 1 else 0]
        targets = self.box2box_transform.get_deltas(boxes[rows], gt_boxes[rows])
        count = max(len(gt_classes), 1)
        return {
            "loss_cls": F.cross_entropy(logits, gt_classes, reduction="sum") / count,
            "loss_box_reg": F.l1_loss(deltas, targets, reduction="sum") / count,
        }

    def inference(
        self, predictions: Predictions, proposals: PerImage
    ) -> tuple[list[Instances], list[torch.Tensor]]:
        """Decode the predictions and run ``fast_rcnn_inference``."""
        boxes = self.predict_boxes(predictions, proposals)
        scores = self.predict_probs(predictions, proposals)
        sizes = [p.image_size for p in proposals]
        options = self.test_score_thresh, self.test_nms_thresh, self.test_topk_per_image
        return fast_rcnn_inference(boxes, scores, sizes, *options)

    def predict_boxes(self, predictions: Predictions, proposals: PerImage) -> PerImageTensors:
        """Return, per image, boxes (R_i, K * 4) or (R_i, 4), XYXY in pixels."""
        starts = torch.cat([p.proposal_boxes.tensor for p in proposals])
        boxes = self.box2box_transform.apply_deltas(predictions[1], starts)
        return boxes.split([p.proposal_boxes.tensor.shape[0] for p in proposals])

    def predict_probs(self, predictions: Predictions, proposals: PerImage) -> PerImageTensors:
        """Return, per image, probabilities (R_i, K + 1)."""
        counts = [p.proposal_boxes.tensor.shape[0] for p in proposals]
        return F.softmax(predictions[0], dim=-1).split(counts)
