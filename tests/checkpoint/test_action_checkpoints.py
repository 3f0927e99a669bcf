"""Weights of action detectors: started from Kinetics models, written and read in each format."""

import logging

import pytest
import torch
from weight_files import WIDTHS, clip_classifier, mvit_names

from mvit_det.checkpoint import read_weights
from mvit_det.checkpoint.__main__ import describe_weights
from mvit_det.checkpoint.converting import translate, write_weights
from mvit_det.checkpoint.formats import FORMATS
from mvit_det.checkpoint.weights import from_content
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.errors import UserError
from mvit_det.recognition import CLIP_ARGUMENTS, ActionDetector, ClassifierMViT

HEAD = ["head.projection.weight", "head.projection.bias"]
ACTIONS = 9
CLIP_FORMATS = [name for name, form in FORMATS.items() if 3 in form.axes]


def small_detector(**changes) -> ActionDetector:
    clip = dict(CLIP_ARGUMENTS, input_size=(4, 64, 64))
    return ActionDetector(ClassifierMViT(**{**clip, **WIDTHS, **changes}), ACTIONS).eval()


@torch.no_grad()
def rows(model) -> torch.Tensor:
    clips = torch.randn(2, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[3.0, 5.0, 40.0, 60.0], [20.0, 0.0, 64.0, 64.0]])
    return model.logits(clips, [boxes, boxes[:1]])


@pytest.mark.parametrize("form", CLIP_FORMATS)
def test_a_classifier_in_each_format_for_clips_starts_it(form, tmp_path, caplog):
    torch.manual_seed(0)
    classifier, path = clip_classifier(classes=5), tmp_path / "kinetics.pth"
    weights = from_content(mvit_names(classifier), "classifier")
    write_weights(translate(weights, form)[0], form, path)
    model = small_detector()
    head = model.head.projection.weight.clone()
    with caplog.at_level(logging.INFO):
        StrictCheckpointer(model).load(str(path))
    assert f"head.projection.{{weight,bias}}: 5 classes, the model has {ACTIONS}" in caplog.text
    assert torch.equal(model.head.projection.weight, head)
    for name, value in classifier.state_dict().items():
        assert name in HEAD or torch.equal(model.state_dict()[name], value), name
    # a file to evaluate, or to resume from, must have the head
    with pytest.raises(UserError, match="has 5 classes and the model 9"):
        StrictCheckpointer(small_detector(), complete=True).load(str(path))


def test_round_trip_in_the_format_of_pyslowfast(tmp_path):  # test_converting.py has the others
    torch.manual_seed(0)
    model, again = small_detector(), small_detector()
    ours, path = tmp_path / "model_final.pth", tmp_path / "theirs.pth"
    torch.save({"model": model.state_dict()}, ours)
    tensors, _, left_out = translate(read_weights(ours), "pyslowfast")
    assert not left_out and len(tensors) == len(model.state_dict())
    write_weights(tensors, "pyslowfast", path)
    StrictCheckpointer(again, complete=True).load(str(path))
    assert torch.equal(rows(again), rows(model))


def test_its_checkpoint_loads_and_resumes(tmp_path):
    torch.manual_seed(0)
    model, again, resumed = (small_detector() for _ in range(3))
    StrictCheckpointer(model, str(tmp_path)).save("model_0000001", iteration=1)
    path = str(tmp_path / "model_0000001.pth")
    StrictCheckpointer(again, complete=True).load(path)
    rest = StrictCheckpointer(resumed).resume(path)
    assert rest["iteration"] == 1
    assert torch.equal(rows(again), rows(model)) and torch.equal(rows(resumed), rows(model))
    lines = describe_weights(read_weights(path))
    assert f"head:             {ACTIONS} classes" in lines and "class token:      yes" in lines
    assert any(line.startswith("format:") and "mvit_det" in line for line in lines)
