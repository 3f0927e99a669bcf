"""The action detector against PySlowFast's, by golden numbers of tests/golden/."""

import json

import pytest
import torch
from exchange import largest_difference, load
from golden.make_action import (
    INPUTS,
    LOGITS,
    NETWORKS,
    NUM_CLASSES,
    WITH_GRADIENTS,
    boxes,
    clips,
    labels,
)
from golden.make_recognizer import fill, gradients_of

from mvit_det.recognition import CLIP_ARGUMENTS, ActionDetector, ClassifierMViT

GOLDEN = json.loads(LOGITS.read_text())


def build(name, **changes):
    with torch.device("meta"):
        backbone = ClassifierMViT(**{**CLIP_ARGUMENTS, **NETWORKS[INPUTS[name][0]], **changes})
        model = ActionDetector(backbone, NUM_CLASSES, head_dropout=0.0)
    return fill(model.to_empty(device="cpu"))


@pytest.mark.parametrize("name", INPUTS)
@torch.no_grad()
def test_logits_of_boxes_are_equal(name):
    logits = build(name).logits(clips(name), boxes(name))
    expected = torch.tensor(GOLDEN["logits"][name])
    assert logits.shape == expected.shape
    assert largest_difference(logits, expected) < 1e-5


@pytest.mark.parametrize("fused_attention", [True, False])
def test_loss_and_gradients_are_equal(fused_attention):
    model = build(WITH_GRADIENTS, fused_attention=fused_attention).train()
    all_boxes = boxes(WITH_GRADIENTS)
    targets = labels().split([len(clip_boxes) for clip_boxes in all_boxes])
    batch = {"inputs": clips(WITH_GRADIENTS), "boxes": all_boxes, "labels": targets}
    loss = model(batch)["loss_action"]
    assert loss.item() == pytest.approx(GOLDEN["loss"], rel=1e-5)
    found, expected = gradients_of(loss, model), GOLDEN["gradients"]
    assert found.keys() == expected.keys()
    # A bias that all keys share leaves a softmax unchanged: its gradient is rounding noise.
    floor = 1e-2 * sorted(norm for norm, _ in expected.values())[len(expected) // 2]
    for name, (norm, along) in expected.items():
        assert found[name] == pytest.approx([norm, along], abs=1e-4 * max(norm, floor)), name


@torch.no_grad()
def test_a_file_of_pyslowfast_fills_the_model(tmp_path):
    source = build("narrow")
    theirs = {name.removeprefix("backbone."): value for name, value in source.state_dict().items()}
    # the golden gradients have the names of PySlowFast's network
    assert theirs.keys() == GOLDEN["gradients"].keys()
    torch.save({"epoch": 30, "model_state": theirs}, tmp_path / "checkpoint_epoch_00030.pyth")
    model = ActionDetector(
        ClassifierMViT(**{**CLIP_ARGUMENTS, **NETWORKS["narrow"]}), NUM_CLASSES
    ).eval()
    load(model, tmp_path / "checkpoint_epoch_00030.pyth", "pyslowfast")
    logits = model.logits(clips("narrow"), boxes("narrow"))
    assert largest_difference(logits, torch.tensor(GOLDEN["logits"]["narrow"])) < 1e-5
