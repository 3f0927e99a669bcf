"""Per-proposal computation: sample, crop, predict.

Legend: N images, K classes (K itself stands for background).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from detectron2.structures import Instances, pairwise_iou
from detectron2.utils.events import get_event_storage

from ..arguments import keep_arguments
from ..matcher import Matcher
from ..poolers import ROIPooler
from ..proposal_generator.proposal_utils import add_ground_truth_to_proposals
from ..sampling import subsample_labels
from .fast_rcnn import PerImage
from .mask_head import LossesOrInstances

Features = Mapping[str, torch.Tensor]  # maps (N, C, H, W) by name


class StandardROIHeads(nn.Module):
    """Box head and, if given, mask head, each with crops of its own ``*_in_features``.

    In training they see ``batch_size_per_image`` proposals, at most ``positive_fraction`` of them
    foreground.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        proposal_matcher: Matcher,
        batch_size_per_image: int,
        positive_fraction: float,
        box_in_features: Sequence[str],
        box_pooler: ROIPooler,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_in_features: Sequence[str] | None = None,
        mask_pooler: ROIPooler | None = None,
        mask_head: nn.Module | None = None,
    ):
        super().__init__()
        keep_arguments(self, locals())
        self.mask_on = mask_in_features is not None

    @torch.no_grad()
    def label_and_sample_proposals(self, proposals: PerImage, targets: PerImage) -> list[Instances]:
        """Match proposals, and ground truth boxes as more of them; choose some for training.

        They get ``gt_classes``; if the image has objects, also the other ``gt_*`` fields of their
        match, which means nothing for background.
        """
        chosen = []
        for candidates, truth in zip(add_ground_truth_to_proposals(targets, proposals), targets):
            matches, classes = self._match(self.proposal_matcher, candidates, truth)
            quota = self.batch_size_per_image, self.positive_fraction
            rows = torch.cat(subsample_labels(classes, *quota, self.num_classes))
            sampled = candidates[rows]
            if len(truth) > 0:
                for name, values in truth.get_fields().items():
                    if name.startswith("gt_"):
                        sampled.set(name, values[matches[rows]])
            sampled.gt_classes = classes[rows]
            chosen.append(sampled)
        self._log_samples(chosen)
        return chosen

    def _match(
        self, matcher: Matcher, proposals: Instances, truth: Instances
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return by proposal the index of its object, and its class: K background, -1 ignored."""
        matches, labels = matcher(pairwise_iou(truth.gt_boxes, proposals.proposal_boxes))
        classes = torch.full_like(matches, self.num_classes)
        if len(truth) > 0:
            classes = torch.where(labels == 1, truth.gt_classes[matches], classes)
            classes[labels == -1] = -1
        return matches, classes

    def _log_samples(self, proposals: PerImage, prefix: str = "") -> None:
        """Record how many are foreground and background, per image."""
        is_bg = torch.cat([p.gt_classes for p in proposals]) == self.num_classes
        num_bg, put = int(is_bg.sum()), get_event_storage().put_scalar
        put(f"{prefix}roi_head/num_fg_samples", (len(is_bg) - num_bg) / len(proposals))
        put(f"{prefix}roi_head/num_bg_samples", num_bg / len(proposals))

    def forward(
        self, images, features, proposals, targets=None
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """In training the sampled proposals and losses; in evaluation detections, no losses.

        ``images`` are not used here; other RoI heads may look at the pixels.
        """
        if not self.training:
            found = self._forward_box(features, proposals)
            return self.forward_with_given_boxes(features, found), {}
        sampled = self.label_and_sample_proposals(proposals, targets)
        losses = dict(self._forward_box(features, sampled, targets))
        if self.mask_on:
            losses.update(self._forward_mask(features, sampled))
        return sampled, losses

    def forward_with_given_boxes(self, features: Features, instances: PerImage) -> list[Instances]:
        """In evaluation, add ``pred_masks`` to known ``pred_boxes`` and ``pred_classes``."""
        return self._forward_mask(features, instances) if self.mask_on else instances

    def _forward_box(
        self, features: Features, proposals: PerImage, targets: PerImage | None = None
    ) -> LossesOrInstances:
        """Return losses, or detections in evaluation; other heads may match ``targets`` anew."""
        maps = [features[name] for name in self.box_in_features]
        crops = self.box_pooler(maps, [p.proposal_boxes for p in proposals])
        predictions = self.box_predictor(self.box_head(crops))
        if self.training:
            return self.box_predictor.losses(predictions, proposals)
        return self.box_predictor.inference(predictions, proposals)[0]

    def _forward_mask(self, features: Features, instances: PerImage) -> LossesOrInstances:
        """Return losses of the foreground in training, instances with masks in evaluation."""
        if self.training:
            labels = [x.gt_classes for x in instances]  # -1: ignored
            foreground = [(y >= 0) & (y < self.num_classes) for y in labels]
            instances = [x[chosen] for x, chosen in zip(instances, foreground)]
        boxes = [x.proposal_boxes if self.training else x.pred_boxes for x in instances]
        maps = [features[name] for name in self.mask_in_features]
        return self.mask_head(self.mask_pooler(maps, boxes), instances)
