"""The models of the embedded host against the real Detectron2, with equal weights and inputs."""

from pathlib import Path

import pytest
import torch
from hosts import both_hosts

MODELS = """
import sys

sys.path.insert(0, folder)
import torch
from toy_cascade import STAGES, stir, toy_cascade
from toy_model import toy_inputs, toy_mask_rcnn

from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

VARIANTS = {
    "plain": (toy_mask_rcnn, {}),
    "box only": (toy_mask_rcnn, dict(mask=False, conv_dims=(-1, 10))),
    "agnostic": (toy_mask_rcnn, dict(agnostic=True)),
    "layer norm": (toy_mask_rcnn, dict(norm="LN")),
    "batch norm": (toy_mask_rcnn, dict(norm="naiveSyncBN_N")),
    "cascade": (toy_cascade, {}),
    "cascade, no norm": (toy_cascade, dict(norm="")),
    "cascade, box only": (toy_cascade, dict(mask=False)),
    "one stage": (toy_cascade, dict(stages=STAGES[:1])),
    "two stages": (toy_cascade, dict(stages=[(0.4, (10, 10, 5, 5)), (0.9, (1, 2, 3, 4))])),
}
# seed and objects per image: also images and a batch without objects
BATCHES = [(0, (4, 2)), (1, (5, 0)), (2, (0, 0))]


def train_step(model, seed, counts, autocast=False):
    torch.manual_seed(100 + seed)
    model.zero_grad()
    with EventStorage() as storage, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = model(toy_inputs(seed, counts=counts))
        sum(losses.values()).backward()
    grads = {k: p.grad for k, p in model.named_parameters()}
    return {
        "losses": {k: v.detach() for k, v in losses.items()},
        "events": {k: v[0] for k, v in storage.latest().items()},
        # NOTE: without boxes the real pooler cuts the graph, and leaves None where we have zeros
        "grads": {k: torch.zeros(()) if g is None else g.abs().sum() for k, g in grads.items()},
        "next random number": torch.rand(()),
        "running means": {k: v.clone() for k, v in model.state_dict().items() if "running" in k},
    }


def plain(instances):
    return {k: v.tensor if isinstance(v, Boxes) else v for k, v in instances.get_fields().items()}


result = {}
for name, (build, options) in VARIANTS.items():
    torch.manual_seed(7)
    model = build(**options)
    out = result[name] = {"state": dict(model.state_dict()), "order": list(model.state_dict())}
    with torch.no_grad():
        stir(model)
    # an empty batch has no statistics
    batches = BATCHES[:2] if name == "batch norm" else BATCHES
    out["steps"] = [train_step(model, *batch) for batch in batches]
    out["autocast"] = train_step(model, *BATCHES[0], autocast=True)
    model.eval()
    heads = model.roi_heads
    if build is toy_cascade:  # only the options of the last stage matter
        for box, threshold in zip(heads.box_predictor, (0.9, 0.8, 0.07)[-len(heads.box_head):]):
            box.test_score_thresh, box.test_nms_thresh = threshold, 0.4 + threshold
            box.test_topk_per_image = int(17 - 2 * threshold)
    with torch.no_grad():
        inputs = toy_inputs(11)
        images = model.preprocess_image(inputs)
        features = out["features"] = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features)
        out["proposals"] = [plain(p) for p in proposals]
        out["boxes"] = [plain(r) for r in heads._forward_box(features, proposals)]
        raw = model.inference(inputs, do_postprocess=False)
        out["raw"] = [plain(r) for r in raw]
        finals = [x["instances"] for x in model(inputs)]
        out["detections"] = [plain(f) for f in finals]
        out["sizes"] = [tuple(f.image_size) for f in finals]
        known = [r[:3] for r in model.inference(inputs, do_postprocess=False)]
        out["known"] = [plain(g["instances"]) for g in model.inference(inputs, known)]
        outside = [Instances(i, proposal_boxes=Boxes([[-9, -9, 300, 400.0], [60, 30, 60, 50]]))
                   for i in images.image_sizes]
        out["outside"] = [plain(r) for r in heads._forward_box(features, outside)]
        empty = heads._forward_box(features, [p[:0] for p in proposals])
        out["empty"] = [plain(r) for r in empty]
"""

PARTS = """
import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.modeling.sampling import subsample_labels
from detectron2.structures import Boxes, Instances


def random_boxes(n, size=300.0):
    corners = torch.rand(n, 2, 2) * size
    return torch.cat((corners.amin(1), corners.amax(1)), dim=1)


parts = {}
for seed in range(3):
    torch.manual_seed(seed)
    out = parts[seed] = {}
    maps = [torch.randn(2, 4, 75 // s, 90 // s, requires_grad=True) for s in (1, 2, 4, 8)]
    generator = DefaultAnchorGenerator(
        sizes=[[s, s * 1.3] for s in (17, 32, 64, 128)],
        aspect_ratios=[[0.5, 0.77, 2.0]],
        strides=[4, 8, 16, 32],
        offset=0.5 if seed else 0.0,
    )
    out["anchors"] = [anchors.tensor for anchors in generator(maps)]
    out["num_anchors"] = list(generator.num_anchors)
    boxes, others = random_boxes(60), random_boxes(60)
    for low_quality in (True, False):
        matcher = Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=low_quality)
        quality = torch.rand(7, 50).mul(20).round() / 20  # ties, and values on the thresholds
        quality[3] = 0
        out[f"matcher{low_quality}"] = matcher(quality), matcher(quality[:0])
    labels = torch.randint(-1, 4, (200,))
    out["subsample"] = subsample_labels(labels, 64, 0.25, 3), subsample_labels(labels, 900, 0.5, 3)
    transform = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    out["deltas"] = transform.get_deltas(boxes, others)
    out["applied"] = transform.apply_deltas(torch.randn(60, 8) * 9, boxes)
    out["levels"] = assign_boxes_to_levels([Boxes(boxes), Boxes(others)], 2, 5, 112, 4)
    for ratio in (0, 2):
        scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
        pooler = ROIPooler(5, scales, ratio, "ROIAlignV2", canonical_box_size=112)
        crops = pooler(maps, [Boxes(boxes), Boxes(others[:7])])
        out[f"pooler{ratio}"] = crops.detach(), torch.autograd.grad(crops.square().sum(), maps)
    out["pool"] = LastLevelMaxPool()(maps[1])

    raw = [torch.stack((random_boxes(n), random_boxes(n))) for n in (500, 90)]
    logits = [torch.randn(2, n) for n in (500, 90)]
    raw[0][0, 5, 2] = float("inf")
    logits[1][1, 7] = float("nan")
    logits[1][1, 8] = float("-inf")
    sizes = [(200, 310), (290, 180)]
    found = find_top_rpn_proposals(raw, logits, sizes, 0.7, 200, 60, 9.0, False)
    out["top"] = [(f.proposal_boxes.tensor, f.objectness_logits) for f in found]
    truth = [Instances(size, gt_boxes=Boxes(boxes[:4])) for size in sizes]
    more = add_ground_truth_to_proposals(truth, found)
    out["added"] = [(m.proposal_boxes.tensor, m.objectness_logits) for m in more]

    scores = torch.randn(60, 4).mul(2).softmax(1)
    for columns in (12, 4):
        candidates = torch.cat([boxes + torch.randn(60, 4) for _ in range(columns // 4)], dim=1)
        found, rows = fast_rcnn_inference([candidates], [scores], [(250, 260)], 0.1, 0.4, 30)
        fields = found[0].get_fields()
        out[f"fast_rcnn{columns}"] = fields["pred_boxes"].tensor, fields["scores"]
        out[f"rows{columns}"] = fields["pred_classes"], rows[0]
"""


@pytest.fixture(scope="module")
def results():
    """Return the results of both scripts: ((models, parts), (models, parts))."""
    script = MODELS + PARTS + "result = result, parts"
    return both_hosts(script, folder=str(Path(__file__).parents[1]))


def close(ours, real, rtol=1e-5, atol=1e-5):
    """Assert equal booleans and integers, and close floats, in nested containers."""
    torch.testing.assert_close(ours, real, rtol=rtol, atol=atol)


VARIANTS = ["plain", "box only", "agnostic", "layer norm", "batch norm"]
VARIANTS += ["cascade", "cascade, no norm", "cascade, box only", "one stage", "two stages"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_models_agree(results, variant):
    real, ours = results[0][0][variant], results[1][0][variant]
    # names, order and start of the parameters
    assert ours["order"] == real["order"]
    close(ours["state"], real["state"], rtol=0, atol=0)
    # training
    for ours_step, real_step in zip(ours["steps"], real["steps"]):
        close(ours_step, real_step)
    losses = real["steps"][0]["losses"]
    assert min(loss for name, loss in losses.items() if "box_reg" in name) > 0.01
    # NOTE: the real layer norm takes its mean in bfloat16, ours in float32
    if variant != "layer norm":
        close(ours["autocast"]["losses"], real["autocast"]["losses"], rtol=1e-4)
    # inference
    parts = ("features", "proposals", "boxes", "raw", "detections", "known", "outside", "empty")
    for key in parts:
        close(ours[key], real[key], rtol=1e-5, atol=1e-4)
    assert ours["sizes"] == real["sizes"]
    # the comparison is not trivial
    detections = real["detections"][0]
    assert len(detections["scores"]) > 5 and detections["scores"].std() > 0.01
    if "pred_masks" in detections:
        assert 0 < detections["pred_masks"].float().mean() < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_parts_agree(results, seed):
    (_, real), (_, ours) = results
    close(ours[seed], real[seed])
    assert len(real[seed]["top"][0][0]) > 20 and len(real[seed]["rows12"][1]) > 10
