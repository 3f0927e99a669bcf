"""Region Proposal Network (Ren et al., Faster R-CNN, 2015).

Legend: N images, L levels, A anchors per cell, R anchors of one image over all levels.
"""

from collections import OrderedDict
from typing import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from detectron2.layers import Conv2d
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage, has_event_storage

from ..box_regression import Box2BoxTransform, box_regression_loss
from ..matcher import Matcher
from ..sampling import subsample_labels
from .proposal_utils import find_top_rpn_proposals


class StandardRPNHead(nn.Module):
    """3x3 convolutions shared by all levels, then 1x1 for the logits and for the deltas."""

    def __init__(
        self,
        *,
        in_channels: int,
        num_anchors: int,
        box_dim: int = 4,
        conv_dims: Sequence[int] = (-1,),
    ):
        """Args: ``num_anchors`` per cell; ``conv_dims`` are the widths of the 3x3 convolutions, -1
        for that of the input. Parameters are ``conv.*``, or ``conv.conv0.*`` ... if several."""
        super().__init__()
        convs: OrderedDict[str, nn.Module] = OrderedDict()
        width = in_channels
        for k, dim in enumerate(conv_dims):
            if dim != -1 and dim <= 0:
                raise ValueError(f"conv_dims must be positive, or -1; got {list(conv_dims)}.")
            dim = width if dim == -1 else dim
            convs[f"conv{k}"] = Conv2d(width, dim, 3, padding=1, activation=nn.ReLU())
            width = dim
        self.conv = convs["conv0"] if len(convs) == 1 else nn.Sequential(convs)
        self.objectness_logits = nn.Conv2d(width, num_anchors, kernel_size=1)
        self.anchor_deltas = nn.Conv2d(width, num_anchors * box_dim, kernel_size=1)
        for layer in filter(lambda module: isinstance(module, nn.Conv2d), self.modules()):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(
        self, features: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """L maps (N, C, H, W) -> L of logits (N, A, H, W), L of deltas (N, A * box_dim, H, W)."""
        hidden = [self.conv(feature) for feature in features]
        return (
            [self.objectness_logits(h) for h in hidden],
            [self.anchor_deltas(h) for h in hidden],
        )


def _rows(x: torch.Tensor, columns: int) -> torch.Tensor:
    """(N, A * columns, H, W) -> (N, H * W * A, columns), the order of the anchors."""
    return x.unflatten(1, (-1, columns)).permute(0, 3, 4, 1, 2).flatten(1, 3)


class RPN(nn.Module):
    """Tells which anchors are near an object, and where its box is."""

    def __init__(
        self,
        *,
        anchor_generator: nn.Module,
        in_features: Sequence[str],
        head: nn.Module,
        box2box_transform: Box2BoxTransform,
        anchor_matcher: Matcher,
        anchor_boundary_thresh: float = -1.0,
        batch_size_per_image: int,
        positive_fraction: float,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
        loss_weight: float | Mapping[str, float] = 1.0,
        pre_nms_topk: tuple[int, int],
        post_nms_topk: tuple[int, int],
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
    ):
        """
        Args:
            in_features: names of the maps to use, as many as the anchor generator has levels.
            anchor_boundary_thresh: if not negative, anchors that leave the image by more pixels
                are ignored in the loss.
            batch_size_per_image: anchors in the loss, of which ``positive_fraction`` positive.
            box_reg_loss_type, smooth_l1_beta: see ``box_regression_loss``.
            loss_weight: one for both losses, or by name (``loss_rpn_cls``, ``loss_rpn_loc``).
            pre_nms_topk, post_nms_topk: (training, evaluation), see ``find_top_rpn_proposals``.
        """
        super().__init__()
        self.rpn_head = head
        self.in_features = list(in_features)
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        self.anchor_matcher = anchor_matcher
        self.anchor_boundary_thresh = anchor_boundary_thresh
        self.positive_fraction = positive_fraction
        self.batch_size_per_image = batch_size_per_image
        self.pre_nms_topk = dict(zip((True, False), pre_nms_topk))  # by self.training
        self.post_nms_topk = dict(zip((True, False), post_nms_topk))
        self.min_box_size = min_box_size
        self.nms_thresh = nms_thresh
        if isinstance(loss_weight, (int, float)):
            loss_weight = dict.fromkeys(("loss_rpn_cls", "loss_rpn_loc"), loss_weight)
        self.loss_weight = loss_weight
        self.box_reg_loss_type = box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta

    def forward(
        self,
        images: ImageList,
        features: Mapping[str, torch.Tensor],
        gt_instances: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Propose, from maps (N, C, H, W) by name; in training from ``gt_boxes`` too.

        Returns:
            Per image Instances with ``proposal_boxes`` and ``objectness_logits``, best first.
            Losses by name; none in evaluation.
        """
        maps = [features[name] for name in self.in_features]
        anchors = self.anchor_generator(maps)
        logits, deltas = self.rpn_head(maps)
        logits = [_rows(x, 1).squeeze(-1) for x in logits]
        deltas = [_rows(x, self.anchor_generator.box_dim) for x in deltas]
        losses = {}
        if self.training:
            assert gt_instances is not None, "The RPN needs ground truth in training."
            gt_labels, gt_boxes = self.label_and_sample_anchors(anchors, gt_instances)
            losses = self.losses(anchors, logits, gt_labels, deltas, gt_boxes)
        return self.predict_proposals(anchors, logits, deltas, images.image_sizes), losses

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: Sequence[Boxes], gt_instances: Sequence[Instances]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Decide what each anchor should say.

        Returns:
            Per image (R,) int8: 1 object, 0 background, -1 not in the loss.
            Per image (R, 4): the matched ground truth; anything where the label is not 1.
        """
        all_anchors = Boxes.cat(list(anchors))
        labels, matched_boxes = [], []
        for truth in gt_instances:
            matches, label = self.anchor_matcher(pairwise_iou(truth.gt_boxes, all_anchors))
            if self.anchor_boundary_thresh >= 0:
                inside = all_anchors.inside_box(truth.image_size, self.anchor_boundary_thresh)
                label = label.masked_fill(~inside, -1)
            labels.append(self._subsample_labels(label))
            # an image without objects has no match, and no label 1
            found = truth.gt_boxes.tensor[matches] if len(truth) else all_anchors.tensor
            matched_boxes.append(found)
        return labels, matched_boxes

    def _subsample_labels(self, label: torch.Tensor) -> torch.Tensor:
        positive, negative = subsample_labels(
            label, self.batch_size_per_image, self.positive_fraction, bg_label=0
        )
        sampled = torch.full_like(label, -1)
        sampled[positive] = 1
        sampled[negative] = 0
        return sampled

    def losses(
        self,
        anchors: Sequence[Boxes],
        pred_objectness_logits: Sequence[torch.Tensor],
        gt_labels: Sequence[torch.Tensor],
        pred_anchor_deltas: Sequence[torch.Tensor],
        gt_boxes: Sequence[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Binary cross entropy of the sampled anchors, box regression of the positive ones.

        Both are sums divided by the sample size over the batch. Predictions are L tensors,
        (N, A_i) and (N, A_i, 4); the rest is from ``label_and_sample_anchors``.
        """
        labels = torch.stack(list(gt_labels))  # (N, R)
        sampled, positive = labels >= 0, labels == 1
        logits = torch.cat(list(pred_objectness_logits), dim=1)
        deltas = torch.cat(list(pred_anchor_deltas), dim=1)
        sample_size = self.batch_size_per_image * len(labels)

        starts = Boxes.cat(list(anchors)).tensor[positive.nonzero()[:, 1]]
        losses = {
            "loss_rpn_cls": F.binary_cross_entropy_with_logits(
                logits[sampled], labels[sampled].float(), reduction="sum"
            ),
            "loss_rpn_loc": box_regression_loss(
                self.box2box_transform,
                starts,
                deltas[positive],
                torch.stack(list(gt_boxes))[positive],
                self.box_reg_loss_type,
                self.smooth_l1_beta,
            ),
        }
        if has_event_storage():
            num_pos, num_sampled = torch.stack((positive.sum(), sampled.sum())).tolist()
            storage = get_event_storage()
            storage.put_scalar("rpn/num_pos_anchors", num_pos / len(labels))
            storage.put_scalar("rpn/num_neg_anchors", (num_sampled - num_pos) / len(labels))
        return {
            name: loss / sample_size * self.loss_weight.get(name, 1.0)
            for name, loss in losses.items()
        }

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: Sequence[Boxes],
        pred_objectness_logits: Sequence[torch.Tensor],
        pred_anchor_deltas: Sequence[torch.Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Instances]:
        """Decode and choose. No gradient flows through the proposals' coordinates."""
        decoded = []
        for level_anchors, deltas in zip(anchors, pred_anchor_deltas):
            starts = level_anchors.tensor.repeat(len(deltas), 1)  # (N * A_i, 4)
            boxes = self.box2box_transform.apply_deltas(deltas.flatten(0, 1), starts)
            decoded.append(boxes.unflatten(0, deltas.shape[:2]))
        return find_top_rpn_proposals(
            decoded,
            pred_objectness_logits,
            image_sizes,
            pre_nms_topk=self.pre_nms_topk[self.training],
            post_nms_topk=self.post_nms_topk[self.training],
            nms_thresh=self.nms_thresh,
            min_box_size=self.min_box_size,
            training=self.training,
        )
