"""Detectron2's two-stage detectors with Soft-NMS and multi-view testing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from detectron2 import modeling
from detectron2.layers import batched_nms
from detectron2.modeling import detector_postprocess
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn

from mvit_det.detection.pasted_masks import PastedMasks
from mvit_det.detection.soft_nms import SoftNMS
from mvit_det.detection.views import View, plan_views
from mvit_det.errors import UserError, check_count

# One image as from Detectron2's mapper: "image" (C, H, W), 0 to 255; optionally "height" and
# "width" of the results in pixels.
Input = Mapping[str, Any]


class GeneralizedRCNN(modeling.GeneralizedRCNN):
    """``detectron2.modeling.GeneralizedRCNN``, optionally without masks, and options for testing.

    Training, parameters and, without these options, testing are the parent's; masks of results are
    `PastedMasks`, since a tensor of all masks of a large image may not fit into memory. Under
    autocast, scores, boxes and masks are computed in float32 from the outputs of the heads. The RoI
    heads are Detectron2's ``StandardROIHeads`` or ``CascadeROIHeads``.

    With Soft-NMS or several views, every box above the score threshold is a candidate, and NMS runs
    once on the candidates of all views. This differs from Detectron2's
    ``GeneralizedRCNNWithTTA``, which suppresses within each view and then across views: applying
    Soft-NMS twice would lower scores twice. Masks are predicted for the selected boxes in every
    view, averaged as probabilities, and pasted once. With a single view of the size of the input,
    the result equals plain testing image by image, bit for bit.

    Views are tested one after the other, image by image, so memory is bounded by the largest one.
    For masks, the features of a view are recomputed instead of kept, unless it is the only view.

    NOTE: views are resized from the model's input. If the test mapper has already resized it, they
    are resized twice; ``dataloader.test.mapper.augmentations=[]`` passes the original image, which
    is best.

    Args:
        soft_nms: settings, or only the method, ``"linear"`` or ``"gaussian"``; replaces the box
            predictor's ``test_nms_thresh`` and ``test_score_thresh``. Its ``test_topk_per_image``
            applies in either case.
        test_short_sides: lengths of the short side to test at, in pixels; empty for that of the
            input.
        test_max_size: limit of the long side in pixels, as in ``ResizeShortestEdge``.
        test_flip: also test the mirror image of each view.
        masks: False: detect boxes alone; a mask head of ``roi_heads`` is left out.
        max_detections: largest number of detections of an image, best scores first, in place of the
            box predictor's ``test_topk_per_image``; None: that one.
        **arguments: those of the parent.

    Raises:
        UserError: an option has the wrong type or is out of range.
    """

    def __init__(
        self,
        *,
        soft_nms: SoftNMS | str | None = None,
        test_short_sides: Sequence[int] = (),
        test_max_size: int = 1333,
        test_flip: bool = False,
        masks: bool = True,
        max_detections: int | None = None,
        **arguments: Any,
    ):
        super().__init__(**arguments)
        self.soft_nms = SoftNMS(method=soft_nms) if isinstance(soft_nms, str) else soft_nms
        if not isinstance(self.soft_nms, (SoftNMS, type(None))):
            raise UserError(
                f"soft_nms={soft_nms} must be linear, gaussian, null or a SoftNMS, e.g. "
                "{_target_: mvit_det.detection.SoftNMS, method: gaussian, sigma: 0.3}."
            )
        if isinstance(test_short_sides, (int, float, str)):
            raise UserError(
                f"test_short_sides={test_short_sides} must be a list of lengths in pixels, e.g. "
                "[800] or [600,800,1000]."
            )
        self.test_short_sides = tuple(test_short_sides)
        owner = "GeneralizedRCNN, a length in pixels,"
        for side in self.test_short_sides:
            check_count(owner, test_short_sides=side)
        check_count(owner, test_max_size=test_max_size)
        self.test_max_size = test_max_size
        self.test_flip = test_flip
        if not masks:
            self.roi_heads.mask_on = False
            self.roi_heads.mask_head = self.roi_heads.mask_pooler = None
        for head in (getattr(self.proposal_generator, "rpn_head", None), *self._box_predictors()):
            if head is not None:
                head.register_forward_hook(_to_float32)
        if max_detections is not None:
            check_count(type(self).__name__, max_detections=max_detections)
            self._box_predictor().test_topk_per_image = max_detections

    def inference(
        self,
        batched_inputs: Sequence[Input],
        detected_instances: Sequence[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[Any]:
        """Detect objects in images of any size, or add masks to known boxes.

        Args:
            batched_inputs: one dict per image, see `Input`.
            detected_instances: known boxes of each image, in pixels of their ``image_size``; None
                to detect.
            do_postprocess: whether to scale results to ``height`` and ``width`` of the input.

        Returns:
            With ``do_postprocess`` {"instances": Instances} per image; else Instances in the size
            of the first view. Fields: ``pred_boxes`` (N, 4) XYXY in pixels, ``scores`` (N,),
            ``pred_classes`` (N,) and, with masks, ``pred_masks``: `PastedMasks`, or probabilities
            (N, 1, M, M) without ``do_postprocess``.
        """
        assert not self.training, "Call eval() first: inference is for evaluation."
        uses_views = len(self.test_short_sides) > 0 or self.test_flip
        if not uses_views and (self.soft_nms is None or detected_instances is not None):
            results = super().inference(batched_inputs, detected_instances, False)
        elif not uses_views:
            results = self._detect(batched_inputs)
        elif detected_instances is None:
            results = [self._detect_in_views(x) for x in batched_inputs]
        else:
            # copies: the real detector_postprocess scales boxes in place
            copies = [deepcopy(boxes).to(self.device) for boxes in detected_instances]
            results = [self._add_masks(x, boxes) for x, boxes in zip(batched_inputs, copies)]
        for result in results:
            if result.has("pred_masks"):
                result.pred_masks = result.pred_masks.float()
        if not do_postprocess:
            return results
        return [{"instances": postprocess(x, result)} for x, result in zip(batched_inputs, results)]

    @torch.no_grad()
    def _detect(self, batched_inputs: Sequence[Input]) -> list[Instances]:
        """Detect in images of unchanged size, in one batch."""
        images, features = self._extract(batched_inputs)
        selected = [self._select(boxes) for boxes in self._candidates(images, features)]
        return self.roi_heads.forward_with_given_boxes(features, selected)

    def _detect_in_views(self, x: Input) -> Instances:
        """Detect in all views of one image; boxes are in pixels of the first view."""
        views = self._views(x)
        if len(views) == 1:
            return self._detect([_view_of(x, views[0])])[0]
        frame = views[0].size
        candidates = Instances.cat([self._candidates_in_view(x, view, frame) for view in views])
        return self._add_masks(x, self._select(candidates))

    def _views(self, x: Input) -> list[View]:
        size = tuple(x["image"].shape[-2:])
        return plan_views(size, self.test_short_sides, self.test_max_size, self.test_flip)

    def _extract(self, batched_inputs: Sequence[Input]) -> tuple[ImageList, dict]:
        images = self.preprocess_image(batched_inputs)
        return images, self.backbone(images.tensor)

    @torch.no_grad()
    def _candidates_in_view(self, x: Input, view: View, frame: tuple[int, int]) -> Instances:
        # A separate function, so that the feature maps are freed when it returns.
        (candidates,) = self._candidates(*self._extract([_view_of(x, view)]))
        boxes = view.boxes_to_frame(candidates.pred_boxes.tensor, frame)
        return Instances(frame, **{**candidates.get_fields(), "pred_boxes": Boxes(boxes)})

    def _candidates(self, images: ImageList, features: dict) -> list[Instances]:
        """Return all boxes of each image above the score threshold, without NMS."""
        predictor = self._box_predictor()
        threshold = predictor.test_score_thresh
        if self.soft_nms is not None:
            threshold = self.soft_nms.score_threshold
        proposals, _ = self.proposal_generator(images, features)
        with _disable_selection(predictor, threshold):
            return self.roi_heads._forward_box(features, proposals)

    def _box_predictors(self) -> list[Any]:
        """Return the box predictors: several in a cascade."""
        predictor = self.roi_heads.box_predictor
        return list(predictor) if isinstance(predictor, nn.ModuleList) else [predictor]

    def _box_predictor(self) -> Any:
        """Return the box predictor with the selection settings: the last one of a cascade."""
        return self._box_predictors()[-1]

    def _select(self, candidates: Instances) -> Instances:
        """Select the detections among the candidates of one image, best first."""
        predictor = self._box_predictor()
        top_k = predictor.test_topk_per_image
        if self.soft_nms is not None:
            return self.soft_nms(candidates, top_k)
        boxes, classes = candidates.pred_boxes.tensor, candidates.pred_classes
        keep = batched_nms(boxes, candidates.scores, classes, predictor.test_nms_thresh)
        return candidates[keep[: top_k if top_k >= 0 else None]]

    def _add_masks(self, x: Input, detections: Instances) -> Instances:
        """Add the mean of all views' masks to the boxes of one image."""
        if not self.roi_heads.mask_on:
            return detections
        # without boxes, one view suffices to give the empty field its shape
        views = self._views(x)[: None if len(detections) > 0 else 1]
        masks = sum(self._masks_in_view(x, view, detections) for view in views) / len(views)
        detections.set("pred_masks", masks)
        return detections

    @torch.no_grad()
    def _masks_in_view(self, x: Input, view: View, detections: Instances) -> torch.Tensor:
        """Predict mask probabilities (N, 1, M, M) for the N boxes in one view."""
        boxes = view.boxes_from_frame(detections.pred_boxes.tensor, detections.image_size)
        classes = detections.pred_classes
        in_view = Instances(view.size, pred_boxes=Boxes(boxes), pred_classes=classes)
        _, features = self._extract([_view_of(x, view)])
        (in_view,) = self.roi_heads.forward_with_given_boxes(features, [in_view])
        return view.masks_to_frame(in_view.pred_masks.float())


def postprocess(x: Input, result: Instances) -> Instances:
    """Scale the detections of one image to its "height" and "width", as Detectron2 does."""
    height, width = x["image"].shape[-2:]
    height, width = int(x.get("height", height)), int(x.get("width", width))
    if result.has("pred_masks"):
        # under this name, they are selected with the boxes, but not pasted
        result.set("mask_probabilities", result.pred_masks[:, 0])
        result.remove("pred_masks")
    result = detector_postprocess(result, height, width)
    if result.has("mask_probabilities"):
        masks, boxes = result.mask_probabilities, result.pred_boxes.tensor
        result.remove("mask_probabilities")
        result.set("pred_masks", PastedMasks(masks, boxes, (height, width)))
    return result


def _to_float32(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """Convert logits and box deltas, before they become scores and boxes.

    Autocast leaves them in its lower precision, on CPUs also the softmax: bfloat16 has 128 scores
    from 0.5 to 1, and boxes of equal score are ranked at random.
    """
    if isinstance(outputs, (list, tuple)):
        return type(outputs)(_to_float32(module, inputs, each) for each in outputs)
    return outputs.float()


def _view_of(x: Input, view: View) -> Input:
    return {**x, "image": view.apply_image(x["image"])}


@contextmanager
def _disable_selection(predictor: nn.Module, score_threshold: float) -> Iterator[None]:
    """Let a box predictor return all boxes that score above the threshold.

    Changing its three settings is the only way to get the boxes before NMS that works for both
    Standard and Cascade RoI heads of Detectron2.
    """
    settings = dict(
        test_score_thresh=score_threshold,
        test_nms_thresh=2.0,  # an IoU never exceeds 1
        test_topk_per_image=-1,
    )
    saved = {name: getattr(predictor, name) for name in settings}
    try:
        for name, value in settings.items():
            setattr(predictor, name, value)
        yield
    finally:
        for name, value in saved.items():
            setattr(predictor, name, value)
