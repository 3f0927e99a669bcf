"""Region Proposal Network (Ren et al., Faster R-CNN, 2015).

Legend: N images, L levels, A anchors per cell, R anchors of one image over all levels.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from detectron2.layers import Conv2d
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage

from ..arguments import ArgumentsModule
from ..box_regression import Box2BoxTransform
from ..matcher import Matcher
from ..sampling import subsample_labels
from .proposal_utils import find_top_rpn_proposals


class StandardRPNHead(nn.Module):
    """Apply 3x3 convolutions, then 1x1 for the logits and for the deltas, to all levels.

    ``conv_dims`` are the channels of the 3x3 convolutions; -1: the channels of the input.
    """

    def __init__(self, *, in_channels: int, num_anchors: int, conv_dims: Sequence[int] = (-1,)):
        super().__init__()
        convs: OrderedDict[str, Any] = OrderedDict()
        width = in_channels
        for k, dim in enumerate(conv_dims):
            dim = width if dim == -1 else dim
            convs[f"conv{k}"] = Conv2d(width, dim, 3, padding=1, activation=nn.ReLU())
            width = dim
        self.conv = convs["conv0"] if len(convs) == 1 else nn.Sequential(convs)
        self.objectness_logits = nn.Conv2d(width, num_anchors, kernel_size=1)
        self.anchor_deltas = nn.Conv2d(width, num_anchors * 4, kernel_size=1)
        for layer in [*convs.values(), self.objectness_logits, self.anchor_deltas]:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(
        self, features: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Map L maps (N, C, H, W) -> L logits (N, A, H, W), L deltas (N, A * 4, H, W)."""
        hidden = [self.conv(feature) for feature in features]
        return [self.objectness_logits(h) for h in hidden], [self.anchor_deltas(h) for h in hidden]


def _anchor_rows(x: torch.Tensor, columns: int) -> torch.Tensor:
    """Map (N, A * columns, H, W) -> (N, H * W * A, columns), in the order of the anchors."""
    return x.unflatten(1, (-1, columns)).permute(0, 3, 4, 1, 2).flatten(1, 3)


class RPN(ArgumentsModule):
    """Classify anchors as object or background, and regress the boxes of objects.

    The loss uses ``batch_size_per_image`` anchors, at most ``positive_fraction`` of them positive.
    The ``*_topk`` are pairs for training and evaluation, see ``find_top_rpn_proposals``.
    """

    def __init__(
        self,
        *,
        anchor_generator: nn.Module,
        in_features: Sequence[str],
        head: nn.Module,
        box2box_transform: Box2BoxTransform,
        anchor_matcher: Matcher,
        batch_size_per_image: int,
        positive_fraction: float,
        pre_nms_topk: tuple[int, int],
        post_nms_topk: tuple[int, int],
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
    ):
        super().__init__()
        self._set_arguments(locals(), skip="head")
        self.rpn_head = head
        self.pre_nms_topk = dict(zip((True, False), pre_nms_topk))  # by self.training
        self.post_nms_topk = dict(zip((True, False), post_nms_topk))

    def forward(
        self, images, features, gt_instances=None
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Return proposals by image, see ``find_top_rpn_proposals``, and losses in training.

        ``features`` are maps (N, C, H, W) by name, ``gt_instances`` have ``gt_boxes``.
        """
        maps = [features[name] for name in self.in_features]
        anchors = self.anchor_generator(maps)
        logits, deltas = self.rpn_head(maps)
        logits = [_anchor_rows(x, 1).squeeze(-1) for x in logits]  # L of (N, A_i)
        deltas = [_anchor_rows(x, 4) for x in deltas]
        losses = {}
        if self.training:
            gt_labels, gt_boxes = self.label_and_sample_anchors(anchors, gt_instances)
            losses = self.losses(anchors, logits, gt_labels, deltas, gt_boxes)
        return self.predict_proposals(anchors, logits, deltas, images.image_sizes), losses

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: Sequence[Boxes], gt_instances: Sequence[Instances]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return, per image, labels (R,) and boxes (R, 4), those of the matched ground truth.

        A label is 1 for an object, 0 for background, -1 outside of the loss. Boxes are valid only
        where the label is 1.
        """
        all_anchors = Boxes.cat(anchors)
        labels, matched_boxes = [], []
        for truth in gt_instances:
            matches, label = self.anchor_matcher(pairwise_iou(truth.gt_boxes, all_anchors))
            positive, negative = subsample_labels(
                label, self.batch_size_per_image, self.positive_fraction, bg_label=0
            )
            labels.append(torch.full_like(label, -1))
            labels[-1][positive] = 1
            labels[-1][negative] = 0
            # an image without objects has no label 1: any boxes will do
            boxes = truth.gt_boxes.tensor[matches] if len(truth) else all_anchors.tensor
            matched_boxes.append(boxes)
        return labels, matched_boxes

    def losses(
        self, anchors, pred_objectness_logits, gt_labels, pred_anchor_deltas, gt_boxes
    ) -> dict[str, torch.Tensor]:
        """Return the binary cross entropy of the sampled anchors and the L1 loss of their deltas.

        The latter is over positive anchors; both are sums, divided by the sample size of the batch.
        L logits are (N, A_i), L deltas (N, A_i, 4), labels and boxes are those of
        ``label_and_sample_anchors``.
        """
        labels = torch.stack(gt_labels)  # (N, R)
        sampled, positive = labels >= 0, labels == 1
        logits = torch.cat(pred_objectness_logits, dim=1)
        deltas = torch.cat(pred_anchor_deltas, dim=1)
        starts = Boxes.cat(anchors).tensor[positive.nonzero()[:, 1]]
        targets = self.box2box_transform.get_deltas(starts, torch.stack(gt_boxes)[positive])

        num_images, num_pos = len(labels), int(positive.sum())
        storage = get_event_storage()
        storage.put_scalar("rpn/num_pos_anchors", num_pos / num_images)
        storage.put_scalar("rpn/num_neg_anchors", (int(sampled.sum()) - num_pos) / num_images)
        sample_size = self.batch_size_per_image * num_images
        loss_cls = F.binary_cross_entropy_with_logits(
            logits[sampled], labels[sampled].float(), reduction="sum"
        )
        loss_loc = F.l1_loss(deltas[positive], targets, reduction="sum")
        return {"loss_rpn_cls": loss_cls / sample_size, "loss_rpn_loc": loss_loc / sample_size}

    @torch.no_grad()
    def predict_proposals(
        self, anchors, pred_objectness_logits, pred_anchor_deltas, image_sizes
    ) -> list[Instances]:
        """Decode and select proposals, see ``find_top_rpn_proposals``; they have no gradient."""
        decoded = []
        for level_anchors, deltas in zip(anchors, pred_anchor_deltas):
            starts = level_anchors.tensor.repeat(deltas.shape[0], 1)  # (N * A_i, 4)
            boxes = self.box2box_transform.apply_deltas(deltas.flatten(0, 1), starts)
            decoded.append(boxes.unflatten(0, deltas.shape[:2]))
        topk = self.pre_nms_topk[self.training], self.post_nms_topk[self.training]
        choice = self.nms_thresh, *topk, self.min_box_size, self.training
        return find_top_rpn_proposals(decoded, pred_objectness_logits, image_sizes, *choice)
