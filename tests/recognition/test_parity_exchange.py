"""Files in the formats of PySlowFast and MMAction2 give the logits of their code."""

import json

import pytest
import torch
from detectron2.config import instantiate
from exchange import largest_difference, load
from golden.make_backbone import describe, scaled, seeded
from golden.make_checkpoint_keys import read_keys
from golden.make_exchange import INPUTS, LOGITS, network_input
from shipped_configs import shipped_config

from mvit_det.backbone import VARIANTS
from mvit_det.checkpoint.published import PUBLISHED
from mvit_det.recognition import ClassifierMViT, Recognizer

GOLDEN = json.loads(LOGITS.read_text())["logits"]


@pytest.mark.parametrize("name", INPUTS)
@torch.no_grad()
def test_a_published_file_gives_the_published_logits(name, tmp_path):
    shapes = read_keys()[name]
    weights = {key: scaled(key, seeded(key, shape)) for key, shape in shapes.items()}
    wrapper, form = ("state_dict", "mmaction2") if "/" in name else ("model_state", "pyslowfast")
    torch.save({wrapper: weights}, tmp_path / "weights.pyth")
    expected = GOLDEN[name]
    if name in PUBLISHED:  # the model that the catalogue names
        model = instantiate(shipped_config(PUBLISHED[name].config).model).eval()
    else:
        ends = VARIANTS["S"].last_block_indexes
        network = ClassifierMViT(INPUTS[name], last_block_indexes=ends)
        model = Recognizer(network, expected["shape"][1]).eval()
    load(model, tmp_path / "weights.pyth", form)
    summary = describe(model.logits(network_input(name)))
    assert summary["shape"] == expected["shape"]
    difference = largest_difference(
        torch.tensor(summary["values"]), torch.tensor(expected["values"])
    )
    assert difference < 1e-5
    assert summary["rms"] == pytest.approx(expected["rms"], rel=1e-5)
