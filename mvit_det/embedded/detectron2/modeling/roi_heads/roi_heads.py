"""Per-proposal computation: sample, crop, predict.

Legend: N images, K classes (K itself stands for background).
"""

from typing import Any, Mapping, Sequence

import torch
from torch import nn

from detectron2.structures import ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage, has_event_storage

from ..matcher import Matcher
from ..poolers import ROIPooler
from ..proposal_generator.proposal_utils import add_ground_truth_to_proposals
from ..sampling import subsample_labels

Features = Mapping[str, torch.Tensor]


def select_foreground_proposals(
    proposals: Sequence[Instances], bg_label: int
) -> tuple[list[Instances], list[torch.Tensor]]:
    """Keep what has a ``gt_classes`` other than background and -1 (ignored).

    Returns:
        Per image the proposals kept, and the bool mask over the given ones.
    """
    masks = [(p.gt_classes >= 0) & (p.gt_classes != bg_label) for p in proposals]
    return [p[mask] for p, mask in zip(proposals, masks)], masks


class ROIHeads(nn.Module):
    """Chooses and labels proposals for training; what to do with them is for a subclass."""

    def __init__(
        self,
        *,
        num_classes: int,
        proposal_matcher: Matcher,
        proposal_append_gt: bool = True,
        batch_size_per_image: int,
        positive_fraction: float,
    ):
        """
        Args:
            num_classes: K, without background.
            proposal_matcher: finds the ground truth of a proposal.
            proposal_append_gt: ground truth boxes count as proposals, in training.
            batch_size_per_image: proposals to train on, of which at most ``positive_fraction``
                foreground.
        """
        super().__init__()
        self.num_classes = num_classes
        self.proposal_matcher = proposal_matcher
        self.proposal_append_gt = proposal_append_gt
        self.positive_fraction = positive_fraction
        self.batch_size_per_image = batch_size_per_image

    def _classes_of(
        self, matches: torch.Tensor, labels: torch.Tensor, gt_classes: torch.Tensor
    ) -> torch.Tensor:
        """The class each proposal should get, from what the matcher says; -1: ignored."""
        if len(gt_classes) == 0:
            return torch.full_like(matches, self.num_classes)
        classes = gt_classes[matches].masked_fill(labels == 0, self.num_classes)
        return classes.masked_fill(labels == -1, -1)

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: Sequence[Instances], targets: Sequence[Instances]
    ) -> list[Instances]:
        """Match proposals to ground truth and choose some for training.

        Returns:
            Per image the chosen proposals, foreground first, with ``gt_classes``, and with the
            other ``gt_*`` fields of their match, which means nothing for background; where an
            image has no objects, with ``gt_classes`` only.
        """
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        chosen = []
        for candidates, truth in zip(proposals, targets):
            overlap = pairwise_iou(truth.gt_boxes, candidates.proposal_boxes)
            matches, labels = self.proposal_matcher(overlap)
            classes = self._classes_of(matches, labels, truth.gt_classes)
            rows = torch.cat(
                subsample_labels(
                    classes, self.batch_size_per_image, self.positive_fraction, self.num_classes
                )
            )
            sampled = candidates[rows]
            sampled.gt_classes = classes[rows]
            if len(truth) > 0:
                for name, values in truth.get_fields().items():
                    if name.startswith("gt_") and not sampled.has(name):
                        sampled.set(name, values[matches[rows]])
            chosen.append(sampled)
        if has_event_storage():
            classes = torch.cat([p.gt_classes for p in chosen])
            num_bg = int((classes == self.num_classes).sum())
            storage = get_event_storage()
            storage.put_scalar("roi_head/num_fg_samples", (len(classes) - num_bg) / len(chosen))
            storage.put_scalar("roi_head/num_bg_samples", num_bg / len(chosen))
        return chosen


class StandardROIHeads(ROIHeads):
    """Box head and, if given, mask head, each with crops of its own."""

    def __init__(
        self,
        *,
        box_pooler: ROIPooler,
        mask_pooler: ROIPooler | None = None,
        box_in_features: Sequence[str],
        mask_in_features: Sequence[str] | None = None,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_head: nn.Module | None = None,
        **kwargs: Any,
    ):
        """
        Args:
            box_in_features, mask_in_features: names of the maps that the poolers crop from.
            box_head: crops -> features of each box.
            box_predictor: features -> predictions, with ``losses`` and ``inference``.
            mask_head: crops -> losses or masks, see ``BaseMaskRCNNHead``.
            kwargs: those of ``ROIHeads``.
        """
        super().__init__(**kwargs)
        self.mask_on = mask_in_features is not None
        self.box_in_features = list(box_in_features)
        self.mask_in_features = list(mask_in_features or ())
        for name, module in (
            ("box_pooler", box_pooler),
            ("box_head", box_head),
            ("box_predictor", box_predictor),
            ("mask_pooler", mask_pooler),
            ("mask_head", mask_head),
        ):
            self.add_module(name, module)

    def forward(
        self,
        images: ImageList,
        features: Features,
        proposals: Sequence[Instances],
        targets: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, torch.Tensor]]:
        """Run the heads on maps (N, C, H, W) by name and the ``proposal_boxes`` of each image.

        ``images`` are not used here; other RoI heads may look at the pixels. ``targets``, the
        ground truth of each image, are needed in training.

        Returns:
            In training, the sampled proposals and the losses by name. In evaluation, detections
            with ``pred_boxes``, ``scores``, ``pred_classes``, perhaps ``pred_masks``; no losses.
        """
        if not self.training:
            found = self._forward_box(features, proposals)
            return self.forward_with_given_boxes(features, found), {}
        assert targets is not None, "RoI heads need ground truth in training."
        sampled = self.label_and_sample_proposals(proposals, targets)
        losses = dict(self._forward_box(features, sampled))
        if self.mask_on:
            losses.update(self._forward_mask(features, sampled))
        return sampled, losses

    def forward_with_given_boxes(
        self, features: Features, instances: Sequence[Instances]
    ) -> list[Instances]:
        """In evaluation, add ``pred_masks`` to known ``pred_boxes`` and ``pred_classes``."""
        assert not self.training, "Given boxes are for evaluation only."
        return self._forward_mask(features, instances) if self.mask_on else list(instances)

    def _forward_box(
        self, features: Features, proposals: Sequence[Instances]
    ) -> dict[str, torch.Tensor] | list[Instances]:
        """Losses in training, detections in evaluation."""
        maps = [features[name] for name in self.box_in_features]
        crops = self.box_pooler(maps, [p.proposal_boxes for p in proposals])
        predictions = self.box_predictor(self.box_head(crops))
        if self.training:
            return self.box_predictor.losses(predictions, proposals)
        return self.box_predictor.inference(predictions, proposals)[0]

    def _forward_mask(
        self, features: Features, instances: Sequence[Instances]
    ) -> dict[str, torch.Tensor] | list[Instances]:
        """Losses of the foreground in training, instances with masks in evaluation."""
        if self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
        boxes = [i.proposal_boxes if self.training else i.pred_boxes for i in instances]
        maps = [features[name] for name in self.mask_in_features]
        return self.mask_head(self.mask_pooler(maps, boxes), instances)
