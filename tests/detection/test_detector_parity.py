"""Whole detectors from files in the format of Detectron2's model zoo, against Detectron2's own.

Without a real Detectron2 only the golden numbers of tests/golden/ are compared.
"""

import json
import pickle

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from golden.make_detector import DETECTIONS, NAMES, OUTPUTS, build, fill, outputs, shorten

import mvit_det
from mvit_det.checkpoint import read_weights
from mvit_det.checkpoint.converting import translate, write_weights
from mvit_det.engine.checkpointer import StrictCheckpointer

GOLDEN = json.loads(OUTPUTS.read_text())


def from_zoo(name, model, folder):
    """Build our detector with the weights of ``model`` from a .pkl in the zoo's format."""
    path = folder / "model_final_000000.pkl"
    arrays = {key: value.numpy() for key, value in model.state_dict().items()}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "someone"}))
    detector = build(name)
    StrictCheckpointer(detector, complete=True).load(str(path))
    return detector


def flattened(value):
    """All numbers of an entry of the golden file, in order."""
    return torch.tensor(value["values"] + [value["rms"]] if isinstance(value, dict) else value)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_detectron2(tmp_path, name):
    found = outputs(from_zoo(name, fill(build(name)), tmp_path))
    assert found.keys() == GOLDEN[name].keys()
    for key, value in found.items():
        expected = GOLDEN[name][key]
        torch.testing.assert_close(
            flattened(shorten(key, value)), flattened(expected), rtol=1e-4, atol=1e-4, msg=key
        )
    # otherwise the comparison would be empty
    assert len(found["scores"]) == DETECTIONS and found["masks"].std() > 1e-4


@pytest.mark.skipif(mvit_det.host() != "real", reason="compares with a real Detectron2")
@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_a_live_detectron2(tmp_path, name):
    theirs = fill(build(name, theirs=True))
    expected = outputs(theirs)
    found = outputs(from_zoo(name, theirs, tmp_path))
    for key, value in expected.items():
        assert found[key].shape == value.shape
        # masks are drawn by a threshold, which a rounding error may cross at single pixels
        scale = 1e-3 if key == "masks" else 1e-5 * value.abs().max()
        assert (found[key] - value).abs().max() <= scale, key


@pytest.mark.skipif(mvit_det.host() != "real", reason="compares with a real Detectron2")
def test_detectron2_takes_our_weights(tmp_path):
    ours, theirs = fill(build(NAMES[1])), build(NAMES[1], theirs=True)
    torch.save({"model": ours.state_dict()}, tmp_path / "model_final.pth")
    tensors, _, left_out = translate(read_weights(tmp_path / "model_final.pth"), "detectron2")
    write_weights(tensors, "detectron2", tmp_path / "ours.pkl")
    DetectionCheckpointer(theirs).load(str(tmp_path / "ours.pkl"))
    assert not left_out
    found, expected = theirs.state_dict(), ours.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
