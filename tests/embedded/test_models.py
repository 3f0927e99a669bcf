"""Complete toy detectors: training, sizes of results, masks of known boxes; on either host."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from toy_cascade import toy_cascade
from toy_model import NUM_CLASSES, assert_learns_one_batch, toy_inputs, toy_mask_rcnn

PLAIN = ("loss_cls", "loss_box_reg")
LOSSES = {
    toy_mask_rcnn: set(PLAIN),
    toy_cascade: {f"{name}_stage{k}" for k in range(3) for name in PLAIN},
}
every_model = pytest.mark.parametrize("build", LOSSES)


def seeded(build):
    torch.manual_seed(0)
    return build()


@pytest.fixture
def model():
    return seeded(toy_mask_rcnn)


@every_model
@pytest.mark.parametrize("counts", [(3, 2), (2, 0), (0, 0)])
def test_model_trains_with_and_without_objects(build, counts):
    model = seeded(build)
    with EventStorage():
        losses = model(toy_inputs(0, counts=counts))
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc", "loss_mask", *LOSSES[build]}
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert model.backbone.bottom_up.stem.weight.grad.abs().sum() > 0
    assert (losses["loss_rpn_loc"] > 0) == any(counts)


@every_model
def test_model_learns_one_batch(build):
    assert_learns_one_batch(seeded(build))


@every_model
def test_model_adds_masks_to_known_boxes(build):
    known = [
        Instances(size, pred_boxes=Boxes([[5, 5, 40, 40]]), pred_classes=torch.tensor([1]))
        for size in ((90, 120), (112, 80))
    ]
    results = seeded(build).eval().inference(toy_inputs(1), known, do_postprocess=False)
    assert results[0].pred_masks.shape == (1, 1, 12, 12)


def test_model_results_have_the_size_of_the_input(model):
    inputs = toy_inputs(1)
    del inputs[1]["height"], inputs[1]["width"], inputs[1]["instances"]
    with torch.no_grad():
        first, second = [x["instances"] for x in model.eval()(inputs)]
    assert first.image_size == (180, 240) and second.image_size == (112, 80)
    assert first.pred_masks.shape == (len(first), 180, 240) and len(first) > 0
    assert first.pred_masks.dtype == torch.bool and first.pred_classes.max() < NUM_CLASSES
    assert (first.scores.diff() <= 0).all() and len(first) <= 20


def test_model_without_detections(model):
    model.eval().roi_heads.box_predictor.test_score_thresh = 1.1
    first, second = model(toy_inputs(1))
    for x in (first, second):
        assert len(x["instances"]) == 0
        assert x["instances"].pred_masks.shape == (0, *x["instances"].image_size)


def test_model_normalises_and_pads(model):
    image = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1).expand(3, 20, 30)
    batch = model.preprocess_image([{"image": image}])
    assert batch.tensor.shape == (1, 3, 32, 32) and batch.image_sizes == [(20, 30)]
    assert batch.tensor.abs().max() < 1e-5
    assert "pixel_mean" not in model.state_dict() and model.device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_model_under_autocast(model, dtype):
    with EventStorage(), torch.autocast("cpu", dtype):
        losses = model(toy_inputs(0))
        sum(losses.values()).backward()
        results = model.eval()(toy_inputs(0))
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert results[0]["instances"].pred_boxes.tensor.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_model_on_a_gpu_agrees_with_the_cpu(model):
    with torch.no_grad():
        on_cpu = model.eval()(toy_inputs(2))
        on_gpu = model.cuda()(toy_inputs(2))
    for ours, theirs in zip(on_gpu, on_cpu):
        ours, theirs = ours["instances"].to("cpu"), theirs["instances"]
        torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-3, atol=1e-3)
    with EventStorage(), torch.autocast("cuda", torch.float16):
        sum(model.train()(toy_inputs(2)).values()).backward()
