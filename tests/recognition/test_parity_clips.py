"""The classifier of clips against PySlowFast's, by golden numbers of tests/golden/, at any size."""

import json

import pytest
import torch
from exchange import largest_difference
from golden.make_clips import INPUTS, LOGITS, NETWORKS, NUM_CLASSES, WITH_GRADIENTS, clip
from golden.make_recognizer import fill, gradients_of

from mvit_det.recognition import CLIP_ARGUMENTS, ClassifierMViT, Recognizer

GOLDEN = json.loads(LOGITS.read_text())


def build(name, **changes):
    with torch.device("meta"):
        backbone = ClassifierMViT(**{**CLIP_ARGUMENTS, **NETWORKS[INPUTS[name][0]], **changes})
        model = Recognizer(backbone, NUM_CLASSES)
    return fill(model.to_empty(device="cpu"))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "B 32x3" else ()) for name in INPUTS],
)
@torch.no_grad()
def test_logits_are_equal_in_both_forms(name):
    model = build(name)
    # the attention map of the plain form takes 0.7 GB in the large networks
    for fused in (True, False) if name.startswith("narrow") else (True,):
        for block in model.backbone.blocks:
            block.attn.fused = fused
        logits = model.logits(clip(name))[0]
        assert largest_difference(logits, torch.tensor(GOLDEN["logits"][name])) < 1e-5, fused


@pytest.mark.parametrize("fused_attention", [True, False])
def test_gradients_are_equal(fused_attention):
    model = build(WITH_GRADIENTS, fused_attention=fused_attention)
    found = gradients_of(model.logits(clip(WITH_GRADIENTS)), model)
    expected = GOLDEN["gradients"]
    assert found.keys() == expected.keys()
    # A bias that all keys share leaves a softmax unchanged: its gradient is rounding noise.
    floor = 1e-2 * sorted(norm for norm, _ in expected.values())[len(expected) // 2]
    for name, (norm, along) in expected.items():
        assert found[name] == pytest.approx([norm, along], abs=1e-4 * max(norm, floor)), name
