"""Soft-NMS and views in whole detectors, small real ones."""

import weakref
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from detectron2 import modeling
from detectron2.config import LazyCall, instantiate
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from omegaconf import OmegaConf
from torch import nn
from toy_cascade import stir, toy_cascade
from toy_model import toy_inputs, toy_mask_rcnn

from mvit_det.detection import GeneralizedRCNN, SoftNMS
from mvit_det.detection.views import plan_views
from mvit_det.engine import apply_overrides, load_config
from mvit_det.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
MODELS = {
    "mask": toy_mask_rcnn,
    "box only": lambda: toy_mask_rcnn(mask=False),
    "cascade": toy_cascade,
}
SIZES = ((91, 120), (112, 91))


def parts(model):
    """Arguments that build another detector with the same modules."""
    names = ("backbone", "proposal_generator", "roi_heads", "pixel_mean", "pixel_std")
    chosen = {name: getattr(model, name) for name in names}
    return {k: v.flatten().tolist() if "pixel" in k else v for k, v in chosen.items()}


def parent(kind):
    torch.manual_seed(0)
    model = MODELS[kind]()
    stir(model)
    return model.eval()


def ours(model, **options):
    return GeneralizedRCNN(**parts(model), **options).eval()


def last_predictor(model):
    predictor = model.roi_heads.box_predictor
    return predictor[-1] if isinstance(predictor, nn.ModuleList) else predictor


def settings(model):
    predictor = last_predictor(model)
    return [
        getattr(predictor, f"test_{x}") for x in ("score_thresh", "nms_thresh", "topk_per_image")
    ]


def assert_same(actual, expected, exactly=True):
    assert tuple(actual.image_size) == tuple(expected.image_size)
    assert set(actual.get_fields()) == set(expected.get_fields())
    tolerance = dict(rtol=0, atol=0) if exactly else {}
    for name, value in actual.get_fields().items():
        wanted = expected.get(name)
        value, wanted = getattr(value, "tensor", value), getattr(wanted, "tensor", wanted)
        torch.testing.assert_close(value, wanted, **tolerance)


def run(model, inputs, *args, **kwargs):
    with torch.no_grad():
        return model.inference(inputs, *args, **kwargs)


@pytest.mark.parametrize("kind", MODELS)
def test_without_options_it_is_the_parent(kind):
    model = parent(kind)
    same = ours(model)
    assert list(same.state_dict()) == list(model.state_dict())
    inputs = toy_inputs(0, SIZES)
    for a, b in zip(run(same, inputs), run(model, inputs)):
        assert_same(a["instances"], b["instances"])


def test_training_is_that_of_the_parent():
    model = toy_mask_rcnn()
    losses = []
    for detector in (model, ours(model, soft_nms="linear", test_short_sides=[50], test_flip=True)):
        torch.manual_seed(1)
        with EventStorage():
            losses.append(detector.train()(toy_inputs(0, SIZES)))
    assert losses[0] == losses[1] and len(losses[0]) == 5


@pytest.mark.parametrize("kind", MODELS)
def test_one_view_of_the_given_size_is_plain_inference_bit_for_bit(kind):
    model = parent(kind)
    viewer = ours(model, test_short_sides=[91])
    inputs = toy_inputs(0, SIZES)
    for do_postprocess in (True, False):
        for x, found in zip(inputs, run(viewer, inputs, do_postprocess=do_postprocess)):
            (expected,) = run(model, [x], do_postprocess=do_postprocess)
            if do_postprocess:
                found, expected = found["instances"], expected["instances"]
            assert len(found) == 20
            assert_same(found, expected)
    # with known boxes, too
    known = [expected[:3] for expected in run(model, inputs, do_postprocess=False)]
    for boxes in known:
        if boxes.has("pred_masks"):
            boxes.remove("pred_masks")
    for i, x in enumerate(inputs):
        # a copy: the real detector_postprocess scales boxes in place
        copies = [deepcopy(known[i]) for _ in range(2)]
        (found,), (expected,) = run(viewer, [x], copies[:1]), run(model, [x], copies[1:])
        assert_same(found["instances"], expected["instances"])
        assert not copies[0].has("pred_masks")


@pytest.mark.parametrize("kind", MODELS)
def test_soft_nms_selects_from_all_boxes_above_its_threshold(kind):
    model = parent(kind)
    soft = SoftNMS("gaussian", sigma=0.3, score_threshold=0.02)
    inputs, before = toy_inputs(1, SIZES), settings(model)
    found = run(ours(model, soft_nms=soft), inputs, do_postprocess=False)
    assert settings(model) == before == [0.05, 0.5, 20]

    predictor = last_predictor(model)
    predictor.test_score_thresh, predictor.test_nms_thresh = 0.02, 1.1
    predictor.test_topk_per_image = 100000
    for result, candidates in zip(found, run(model, inputs, do_postprocess=False)):
        assert len(candidates) > 40
        assert_same(result, soft(candidates, 20), exactly=False)
        assert result.scores[0] == candidates.scores[0]
        assert (result.scores[1:] <= result.scores[:-1]).all()


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("soft_nms", [None, "linear"])
def test_one_selection_from_the_candidates_of_all_views(kind, soft_nms):
    model = parent(kind)
    x = toy_inputs(2, SIZES)[0]
    detector = ours(model, test_short_sides=[70, 91], test_flip=True, soft_nms=soft_nms)
    (found,) = run(detector, [x], do_postprocess=False)

    # The same by the parent and by hand.
    views = plan_views(SIZES[0], [70, 91], 1333, True)
    frame = views[0].size
    predictor = last_predictor(model)
    predictor.test_nms_thresh, predictor.test_topk_per_image = 1.1, 100000
    predictor.test_score_thresh = 0.05 if soft_nms is None else 1e-3
    candidates = []
    for view in views:
        (result,) = run(model, [{"image": view.apply_image(x["image"])}], do_postprocess=False)
        boxes = result.pred_boxes.tensor * (frame[1] / view.size[1])
        if view.mirrored:
            boxes = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor(
                [frame[1], 0, frame[1], 0]
            )
        candidates.append(
            Instances(
                frame, pred_boxes=Boxes(boxes), scores=result.scores, classes=result.pred_classes
            )
        )
    candidates = Instances.cat(candidates)
    candidates.pred_classes = candidates.classes
    boxes = candidates.pred_boxes.tensor
    if soft_nms is None:
        keep = batched_nms(boxes, candidates.scores, candidates.pred_classes, 0.5)[:20]
        expected = candidates[keep]
    else:
        expected = SoftNMS()(candidates, 20)
    assert torch.equal(found.pred_classes, expected.pred_classes)
    # aspect ratios of the views differ by the rounding to whole pixels
    torch.testing.assert_close(found.scores, expected.scores, rtol=0.02, atol=1e-3)
    torch.testing.assert_close(
        found.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=0, atol=1.0
    )
    if kind == "box only":
        assert not found.has("pred_masks")
        return
    masks = []
    for view in views:
        boxes = view.boxes_from_frame(found.pred_boxes.tensor, frame)
        known = Instances(view.size, pred_boxes=Boxes(boxes), pred_classes=found.pred_classes)
        image = {"image": view.apply_image(x["image"])}
        (result,) = run(model, [image], [known], do_postprocess=False)
        masks.append(result.pred_masks.flip(-1) if view.mirrored else result.pred_masks)
    torch.testing.assert_close(found.pred_masks, torch.stack(masks).mean(dim=0))


def test_images_of_a_batch_do_not_affect_each_other():
    detector = ours(parent("mask"), test_short_sides=[60, 90], test_flip=True, soft_nms="linear")
    inputs = toy_inputs(3, SIZES)
    for x, found in zip(inputs, run(detector, inputs)):
        assert_same(found["instances"], run(detector, [x])[0]["instances"])
        size = found["instances"].image_size
        assert tuple(size) == (x["height"], x["width"])
        assert found["instances"].pred_masks.shape[1:] == size


@pytest.mark.parametrize("kind", MODELS)
def test_an_image_without_objects_gives_empty_instances_with_all_fields(kind):
    model = parent(kind)
    last_predictor(model).test_score_thresh = 1.1
    detector = ours(model, test_short_sides=[60, 90], test_flip=True)
    (x,) = toy_inputs(4, SIZES[:1], counts=[0])
    (plain,), (found,) = run(model, [x]), run(detector, [x])
    assert len(found["instances"]) == 0
    assert_same(found["instances"], plain["instances"])
    never = ours(model, test_flip=True, soft_nms=SoftNMS(score_threshold=1.0))
    assert_same(run(never, [x])[0]["instances"], plain["instances"])


class CountingBackbone(nn.Module):
    """Record at each call how many of the earlier feature maps are still in memory."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.size_divisibility = backbone.size_divisibility
        self.padding_constraints = getattr(backbone, "padding_constraints", None)
        self.made, self.alive = [], []

    def forward(self, x):
        assert not torch.is_grad_enabled()  # a graph would keep them
        self.alive.append(sum(ref() is not None for ref in self.made))
        features = self.backbone(x)
        self.made += [weakref.ref(value) for value in features.values()]
        return features


@pytest.mark.parametrize("kind", ["mask", "cascade"])
def test_memory_is_bounded_by_one_view(kind):
    model = parent(kind)
    model.backbone = CountingBackbone(model.backbone)
    detector = ours(model, test_short_sides=[60, 75, 90], test_flip=True, soft_nms="linear")
    detector(toy_inputs(5, SIZES))
    # 2 images, 6 views, for boxes and for masks
    assert model.backbone.alive == [0] * 24
    assert len(model.backbone.made) == 24 * 3


def test_features_of_a_single_view_are_computed_once_per_image():
    model = parent("mask")
    model.backbone = CountingBackbone(model.backbone)
    ours(model, test_short_sides=[60], soft_nms="linear")(toy_inputs(5, SIZES))
    assert model.backbone.alive == [0, 0]
    model.backbone.alive.clear()
    ours(model, soft_nms="linear")(toy_inputs(5, SIZES))  # no views: one batch
    assert model.backbone.alive == [0]


def test_without_boxes_masks_need_one_view():
    model = parent("mask")
    model.backbone = CountingBackbone(model.backbone)
    model.roi_heads.box_predictor.test_score_thresh = 1.1
    ours(model, test_short_sides=[60, 90], test_flip=True)(toy_inputs(5, SIZES[:1], [0]))
    assert model.backbone.alive == [0] * 5


def test_one_override_switches_each_option_on():
    cfg = load_config(str(CONFIGS / "quickstart.py"))
    cfg.model["_target_"] = LazyCall(GeneralizedRCNN)()["_target_"]
    plain = instantiate(cfg.model)
    assert isinstance(plain, modeling.GeneralizedRCNN)
    assert (plain.soft_nms, plain.test_short_sides, plain.test_flip) == (None, (), False)
    overrides = [
        "model.soft_nms=linear",
        "model.test_short_sides=[600,800,1000]",
        "model.test_max_size=1600",
        "model.test_flip=true",
    ]
    model = instantiate(apply_overrides(cfg, overrides).model)
    assert model.soft_nms == SoftNMS(method="linear")
    assert (model.test_short_sides, model.test_max_size) == ((600, 800, 1000), 1600)
    assert model.test_flip is True
    whole = "model.soft_nms={_target_: mvit_det.detection.SoftNMS, method: gaussian, sigma: 0.3}"
    cfg.model.soft_nms = None
    model = instantiate(apply_overrides(cfg, [whole]).model)
    assert model.soft_nms == SoftNMS("gaussian", sigma=0.3)


def test_the_protocol_config_differs_from_its_parent_in_testing_only():
    name = "cascade_mask_rcnn_mvitv2_l_in21k_lsj_50ep"
    base, protocol = (load_config(str(CONFIGS / f"{name}{x}.py")) for x in ("", "_multiscale"))
    soft = instantiate(protocol.model.pop("soft_nms"))
    assert soft == SoftNMS("linear", score_threshold=1e-3)
    assert protocol.model.pop("test_short_sides") == list(range(400, 1201, 100))
    assert (protocol.model.pop("test_max_size"), protocol.model.pop("test_flip")) == (1600, True)
    assert protocol.dataloader.test.mapper.augmentations == []
    assert protocol.published.box_ap == 58.7
    for cfg in (base, protocol):
        cfg.dataloader.test.mapper.augmentations = cfg.published = None
        cfg.model.backbone.bottom_up.norm_layer = None  # a partial equals only itself
    containers = [OmegaConf.to_container(cfg) for cfg in (base, protocol)]
    assert containers[0] == containers[1]


@pytest.mark.parametrize("kind", ["mask", "cascade"])
def test_boxes_without_masks_are_those_of_the_same_weights(kind):
    model, inputs = parent(kind), toy_inputs(2, SIZES)
    expected = [result["instances"] for result in run(model, inputs)]
    boxes = ours(model, masks=False)
    assert not any("mask" in name for name in boxes.state_dict())
    for result, wanted in zip(run(boxes, inputs), expected):
        assert wanted.has("pred_masks")
        wanted.remove("pred_masks")
        assert_same(result["instances"], wanted)
    for x, result in zip(inputs, expected):
        size = tuple(x["image"].shape[-2:])
        x["instances"] = Instances(
            size, gt_boxes=result.pred_boxes[:3], gt_classes=result.pred_classes[:3]
        )
    with EventStorage():
        losses = boxes.train()(inputs)
    assert losses and not any("mask" in name for name in losses)


@pytest.mark.parametrize("kind", MODELS)
def test_max_detections_of_an_image(kind):
    model, inputs = parent(kind), toy_inputs(2, SIZES)
    expected = [len(result["instances"]) for result in run(model, inputs)]
    assert max(expected) == 20  # the limit of the box predictor
    last_predictor(model).test_score_thresh = 0.0
    more = [len(result["instances"]) for result in run(ours(model, max_detections=40), inputs)]
    assert more == [40, 40]
    with pytest.raises(UserError, match="max_detections=0 of GeneralizedRCNN must be a whole"):
        ours(model, max_detections=0)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("views", [{}, dict(test_flip=True, soft_nms="linear")])
def test_under_autocast_scores_boxes_and_masks_are_float32(kind, views):
    """The softmax of bfloat16 would give at most 128 scores from 0.5 to 1, and many ties."""
    model = ours(parent(kind), **views)
    inputs = toy_inputs(0, SIZES)
    for do_postprocess in (True, False):
        with torch.autocast("cpu", torch.bfloat16):
            results = run(model, inputs, do_postprocess=do_postprocess)
        for result in results:
            found = result["instances"] if do_postprocess else result
            values = [found.scores, found.pred_boxes.tensor]
            if found.has("pred_masks"):
                values.append(getattr(found.pred_masks, "masks", found.pred_masks))
            assert len(found) > 1 and {value.dtype for value in values} == {torch.float32}
            assert not any(value.equal(value.bfloat16().float()) for value in values[:2])
