"""The cascade of the embedded host against the real Detectron2's, with equal weights and inputs."""

from pathlib import Path

import pytest
import torch
from parity import both_hosts

SCRIPT = """
import sys

sys.path.insert(0, folder)
import torch
from toy_cascade import STAGES, stir, toy_cascade
from toy_model import toy_inputs

from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

VARIANTS = {
    "released": {},
    "no norm": dict(norm=""),
    "box only": dict(mask=False),
    "one stage": dict(stages=STAGES[:1]),
    "two stages, two thresholds": dict(stages=[(0.4, (10, 10, 5, 5)), (0.9, (1, 2, 3, 4))]),
}
# seed, objects per image: with an image without any, and none in the whole batch
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
        "stem": grads["backbone.bottom_up.stem.weight"],
        "next random number": torch.rand(()),
        "running means": {k: v.clone() for k, v in model.state_dict().items() if "running" in k},
    }


def plain(instances):
    return {k: v.tensor if isinstance(v, Boxes) else v for k, v in instances.get_fields().items()}


result = {}
for name, options in VARIANTS.items():
    torch.manual_seed(7)
    model = toy_cascade(**options)
    out = result[name] = {"state": dict(model.state_dict()), "order": list(model.state_dict())}
    with torch.no_grad():
        stir(model)
    out["steps"] = [train_step(model, *batch) for batch in BATCHES]
    out["autocast"] = train_step(model, *BATCHES[0], autocast=True)
    model.eval()
    heads = model.roi_heads
    # only those of the last stage count
    for predictor, threshold in zip(heads.box_predictor, (0.9, 0.8, 0.07)[-len(heads.box_head):]):
        predictor.test_score_thresh, predictor.test_nms_thresh = threshold, 0.4 + threshold
        predictor.test_topk_per_image = int(17 - 2 * threshold)
    with torch.no_grad():
        inputs = toy_inputs(11)
        images = model.preprocess_image(inputs)
        features = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features)
        out["boxes"] = [plain(r) for r in heads._forward_box(features, proposals)]
        out["raw"] = [plain(r) for r in model.inference(inputs, do_postprocess=False)]
        out["detections"] = [plain(x["instances"]) for x in model(inputs)]
        given = [
            Instances(i, pred_boxes=Boxes([[5, 5, 40, 40], [0, 9, 70, 30]])) for i in images.image_sizes
        ]
        for known in given:
            known.pred_classes = torch.tensor([1, 2])
        out["given"] = [plain(g) for g in heads.forward_with_given_boxes(features, given)]
        outside = [Instances(i, proposal_boxes=Boxes([[-9, -9, 300, 400.0], [60, 30, 60, 50]]))
                   for i in images.image_sizes]
        out["outside"] = [plain(r) for r in heads._forward_box(features, outside)]
        nothing = [p[:0] for p in proposals]
        out["nothing"] = [plain(r) for r in heads._forward_box(features, nothing)]
"""


@pytest.fixture(scope="module")
def results():
    """What both hosts make of the script."""
    return both_hosts(SCRIPT, folder=str(Path(__file__).parent))


def close(ours, real, rtol=1e-5, atol=1e-5):
    """Booleans and integers must be equal, floats close; containers of the same form."""
    torch.testing.assert_close(ours, real, rtol=rtol, atol=atol)


VARIANTS = ["released", "no norm", "box only", "one stage", "two stages, two thresholds"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_have_equal_names_order_and_start(results, variant):
    real, ours = results[0][variant], results[1][variant]
    assert ours["order"] == real["order"]
    close(ours["state"], real["state"], rtol=0, atol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_agrees(results, variant):
    real, ours = results[0][variant], results[1][variant]
    for ours_step, real_step in zip(ours["steps"], real["steps"]):
        close(ours_step, real_step)
    close(ours["autocast"]["losses"], real["autocast"]["losses"], rtol=1e-4)
    # the comparison means something: all stages have objects to regress to
    losses = [loss for name, loss in real["steps"][0]["losses"].items() if "box_reg" in name]
    assert min(losses) > 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_inference_agrees(results, variant):
    real, ours = results[0][variant], results[1][variant]
    for key in ("boxes", "raw", "detections", "given", "outside", "nothing"):
        close(ours[key], real[key], rtol=1e-5, atol=1e-4)
    detections = real["detections"][0]
    assert len(detections["scores"]) > 5 and detections["scores"].std() > 0.01
    if "pred_masks" in detections:
        assert 0 < detections["pred_masks"].float().mean() < 0.9
