"""The classifier against facebookresearch/mvit's, by golden numbers of tests/golden/."""

import json
from functools import lru_cache

import pytest
import torch
from exchange import largest_difference
from golden.make_recognizer import (
    LOGITS,
    NETWORKS,
    NUM_CLASSES,
    WITH_GRADIENTS,
    fill,
    gradients_of,
    image,
)

from mvit_det.recognition import ClassifierMViT, Recognizer

GOLDEN = json.loads(LOGITS.read_text())


@lru_cache(maxsize=1)  # the last network is built for two tests
def build(name):
    with torch.device("meta"):
        model = Recognizer(ClassifierMViT(**NETWORKS[name]), NUM_CLASSES)
    return fill(model.to_empty(device="cpu"))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name[0] == "L" or "384" in name else ())
        for name in NETWORKS
    ],
)
@torch.no_grad()
def test_logits_are_equal(name):
    model = build(name)
    expected = torch.tensor(GOLDEN["logits"][name])
    for fused in (False, True) if name in ("T", WITH_GRADIENTS) else (True,):
        for block in model.backbone.blocks:
            block.attn.fused = fused
        logits = model.logits(image(name))[0]
        assert largest_difference(logits, expected) < 1e-5, fused
    if name == "T":
        probabilities = model({"inputs": image(name)})[0]
        assert largest_difference(probabilities, expected.softmax(dim=0)) < 1e-5


def test_gradients_are_equal():
    model = build(WITH_GRADIENTS)
    found = gradients_of(model.logits(image(WITH_GRADIENTS)), model)
    expected = GOLDEN["gradients"]
    assert found.keys() == expected.keys()
    # Two kinds of gradients are rounding noise: of biases that all keys share in a softmax, and, in
    # the last block, of parameters that only the unread tokens use.
    floor = 1e-2 * sorted(norm for norm, _ in expected.values())[len(expected) // 2]
    for name, (norm, along) in expected.items():
        assert norm > floor or name.endswith("norm_k.bias") or "blocks.5.attn." in name
        assert found[name] == pytest.approx([norm, along], abs=1e-4 * max(norm, floor)), name
