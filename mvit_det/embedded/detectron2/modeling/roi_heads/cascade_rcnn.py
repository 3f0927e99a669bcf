"""Cascade R-CNN (Cai and Vasconcelos, 2018): box heads, each refining the boxes of the last."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage, get_event_storage

from .fast_rcnn import PerImage, fast_rcnn_inference
from .mask_head import LossesOrInstances
from .roi_heads import Features, StandardROIHeads


class CascadeROIHeads(StandardROIHeads):
    """RoI heads with a box head, a predictor and a matcher per stage (``box_head.0``, ...).

    Predictors must be class-agnostic: boxes are refined before their class is known. The mask head
    trains on the boxes of the first stage. ``kwargs`` are those of ``StandardROIHeads``.

    Raises:
        AssertionError: the lists differ in length.
    """

    def __init__(
        self, *, box_heads: list, box_predictors: list, proposal_matchers: list, **kwargs: Any
    ):
        counts = {len(box_heads), len(box_predictors), len(proposal_matchers)}
        assert len(counts) == 1, f"Heads, predictors and matchers differ in number: {counts}."
        kwargs.update(box_head=nn.ModuleList(box_heads), proposal_matcher=proposal_matchers[0])
        super().__init__(box_predictor=nn.ModuleList(box_predictors), **kwargs)
        self.proposal_matchers = list(proposal_matchers)
        self.num_cascade_stages = len(box_heads)

    def _forward_box(
        self, features: Features, proposals: PerImage, targets: PerImage | None = None
    ) -> LossesOrInstances:
        """Return losses in training, ``loss_cls_stage0`` and so on; otherwise detections.

        Detections have the boxes of the last stage, and scores averaged over all stages.
        """
        maps = [features[name] for name in self.box_in_features]
        losses, scores = {}, []
        boxes: Sequence[torch.Tensor] = ()
        for k, (head, predictor) in enumerate(zip(self.box_head, self.box_predictor)):
            if k > 0:
                proposals = self._refine(boxes, proposals, targets, k)
            crops = self._crop(self.box_pooler, maps, proposals, "proposal_boxes")
            if crops.requires_grad:  # all stages together have the gradient of one head
                crops.register_hook(lambda gradient: gradient / self.num_cascade_stages)
            predictions = predictor(head(crops))
            if self.training:
                with EventStorage() as events:
                    stage_losses = predictor.losses(predictions, proposals)
                losses.update({f"{name}_stage{k}": loss for name, loss in stage_losses.items()})
                for name, (value, _) in events.latest().items():
                    get_event_storage().put_scalar(f"stage{k}/{name}", value)
            boxes = predictor.predict_boxes(predictions, proposals)
            scores.append(predictor.predict_probs(predictions, proposals))
        if self.training:
            return losses
        sizes = [p.image_size for p in proposals]
        means = [torch.stack(stages).mean(dim=0) for stages in zip(*scores)]
        options = predictor.test_score_thresh, predictor.test_nms_thresh
        return fast_rcnn_inference(boxes, means, sizes, *options, predictor.test_topk_per_image)[0]

    @torch.no_grad()
    def _refine(
        self, boxes: Sequence[torch.Tensor], last: PerImage, targets: PerImage | None, stage: int
    ) -> list[Instances]:
        """Make clipped proposals of boxes (R_i, 4), predicted from the ``last`` proposals.

        In training the matcher of the stage labels them, and empty boxes are dropped: a regression
        needs a positive size. They have no gradient.
        """
        refined = [Instances(x.image_size, proposal_boxes=Boxes(b)) for x, b in zip(last, boxes)]
        for i, candidates in enumerate(refined):
            candidates.proposal_boxes.clip(candidates.image_size)
            if self.training:
                assert targets is not None, "Training needs targets."
                refined[i] = candidates = candidates[candidates.proposal_boxes.nonempty()]
                matcher, truth = self.proposal_matchers[stage], targets[i]
                matches, candidates.gt_classes = self._match(matcher, candidates, truth)
                if len(truth) > 0:
                    candidates.gt_boxes = truth.gt_boxes[matches]
        if self.training:
            self._log_samples(refined, f"stage{stage}/")
        return refined
