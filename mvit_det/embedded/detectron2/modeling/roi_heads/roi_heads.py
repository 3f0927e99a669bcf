"""RoI heads: sample proposals, crop their features, predict.

Legend: N images, K classes (K itself stands for background).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from detectron2.structures import Instances, pairwise_iou
from detectron2.structures.whole_batch import images_of
from detectron2.utils.events import get_event_storage

from ..arguments import ArgumentsModule
from ..matcher import Matcher
from ..poolers import ROIPooler
from ..proposal_generator.proposal_utils import add_ground_truth_to_proposals
from ..sampling import subsample_labels
from .fast_rcnn import PerImage
from .mask_head import LossesOrInstances

Features = Mapping[str, torch.Tensor]  # maps (N, C, H, W) by name


class StandardROIHeads(ArgumentsModule):
    """A box head and an optional mask head, each with crops of the maps ``*_in_features``.

    In training they get ``batch_size_per_image`` proposals per image, at most
    ``positive_fraction`` of them foreground.
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
        self._set_arguments(locals())
        self.mask_on = mask_in_features is not None

    @torch.no_grad()
    def label_and_sample_proposals(self, proposals: PerImage, targets: PerImage) -> list[Instances]:
        """Match proposals and added ground truth boxes to ``targets``; sample some for training.

        Samples get ``gt_classes`` and, if the image has objects, the other ``gt_*`` fields of their
        match, which are invalid for background.
        """
        samples = []
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
            samples.append(sampled)
        self._log_samples(samples)
        return samples

    def _match(
        self, matcher: Matcher, proposals: Instances, truth: Instances
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return, for N proposals, indices of objects (N,) and classes (N,); -1: ignored."""
        matches, labels = matcher(pairwise_iou(truth.gt_boxes, proposals.proposal_boxes))
        classes = torch.full_like(matches, self.num_classes)
        if len(truth) > 0:
            classes = torch.where(labels == 1, truth.gt_classes[matches], classes)
            classes[labels == -1] = -1
        return matches, classes

    def _log_samples(self, proposals: PerImage, prefix: str = "") -> None:
        """Record the mean numbers of foreground and background proposals per image."""
        is_bg = torch.cat([p.gt_classes for p in proposals]) == self.num_classes
        num_bg, put = int(is_bg.sum()), get_event_storage().put_scalar
        put(f"{prefix}roi_head/num_fg_samples", (len(is_bg) - num_bg) / len(proposals))
        put(f"{prefix}roi_head/num_bg_samples", num_bg / len(proposals))

    def forward(
        self, images, features, proposals, targets=None
    ) -> tuple[PerImage, dict[str, torch.Tensor]]:
        """Return the sampled proposals and losses in training; otherwise detections and {}.

        ``images`` are not used; they are part of the interface of RoI heads.
        """
        if not self.training:
            detections = self._forward_box(features, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        sampled = self.label_and_sample_proposals(proposals, targets)
        losses = dict(self._forward_box(features, sampled, targets))
        if self.mask_on:
            losses.update(self._forward_mask(features, sampled))
        return sampled, losses

    def forward_with_given_boxes(self, features: Features, instances: PerImage) -> PerImage:
        """Add ``pred_masks`` to known ``pred_boxes`` and ``pred_classes``, in evaluation."""
        return self._forward_mask(features, instances) if self.mask_on else instances

    def _forward_box(
        self, features: Features, proposals: PerImage, targets: PerImage | None = None
    ) -> LossesOrInstances:
        """Return losses, or detections in evaluation; only subclasses use ``targets``."""
        maps = [features[name] for name in self.box_in_features]
        crops = self._crop(self.box_pooler, maps, proposals, "proposal_boxes")
        predictions = self.box_predictor(self.box_head(crops))
        if self.training:
            return self.box_predictor.losses(predictions, proposals)
        return self.box_predictor.inference(predictions, proposals)[0]

    def _forward_mask(self, features: Features, instances: PerImage) -> LossesOrInstances:
        """Return losses of the foreground in training, instances with masks in evaluation."""
        if self.training:
            labels = [x.gt_classes for x in instances]  # -1: ignored
            foreground = [(y >= 0) & (y < self.num_classes) for y in labels]
            instances = [x[mask] for x, mask in zip(instances, foreground)]
        field = "proposal_boxes" if self.training else "pred_boxes"
        maps = [features[name] for name in self.mask_in_features]
        return self.mask_head(self._crop(self.mask_pooler, maps, instances, field), instances)

    @staticmethod
    def _crop(pooler, maps: list[torch.Tensor], instances: PerImage, field: str) -> torch.Tensor:
        """Crop the boxes ``field`` of all instances from the maps, in their order."""
        return pooler(maps, [x.get(field) for x in instances], *images_of(instances))
