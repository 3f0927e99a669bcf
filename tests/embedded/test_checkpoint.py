"""The checkpointer: training checkpoints, files of weights, and untrusted files."""

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Capture the log of detectron2 and fvcore, independent of the handlers of other tests."""
    for name in ("detectron2", "fvcore"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        caplog.set_level(logging.INFO, logger=name)
    return caplog


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)


class Detector(nn.Module):
    """A detector with zero weights, which shows what was loaded."""

    def __init__(self):
        super().__init__()
        self.backbone = Trunk()
        self.head = nn.Linear(4, 2)
        self.register_buffer("pixel_mean", torch.ones(3, 1, 1))
        for parameter in self.parameters():
            parameter.data.zero_()

    def loaded(self) -> set[str]:
        return {name for name, p in self.named_parameters() if p.abs().sum() > 0}


TRUNK = {"conv.weight", "conv.bias", "norm.weight", "norm.bias"}
IN_MODEL = {f"backbone.{name}" for name in TRUNK}


def _trunk_weights(prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + name: torch.ones_like(value) for name, value in Trunk().state_dict().items()}


def _load(path: Path | str, content: Any = None, **kwargs: Any) -> tuple[Detector, dict]:
    if isinstance(path, Path) and content is not None:
        torch.save(content, path)
    model = Detector()
    return model, DetectionCheckpointer(model, **kwargs).load(str(path))


# Training.


def test_save_and_resume(tmp_path: Path) -> None:
    model = Detector()
    nn.init.ones_(model.head.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    checkpointer = DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer)
    assert not checkpointer.has_checkpoint()
    assert checkpointer.resume_or_load("", resume=True) == {}
    checkpointer.save("model_0000004", iteration=4)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000004.pth"

    second = Detector()
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1)
    resumed = DetectionCheckpointer(second, str(tmp_path), optimizer=optimizer)
    assert resumed.has_checkpoint()
    assert resumed.resume_or_load("unused.pth", resume=True) == {"iteration": 4}
    assert second.loaded() == {"head.weight"} and optimizer.param_groups[0]["lr"] == 0.5

    # Without resuming, only the weights of the file are loaded.
    third = Detector()
    fresh = torch.optim.SGD(third.parameters(), lr=0.1)
    path = str(tmp_path / "model_0000004.pth")
    left = DetectionCheckpointer(third, str(tmp_path), optimizer=fresh).resume_or_load(
        path, resume=False
    )
    assert set(left) == {"optimizer", "iteration"} and fresh.param_groups[0]["lr"] == 0.1
    assert third.loaded() == {"head.weight"}


def test_only_the_main_process_saves(tmp_path: Path) -> None:
    DetectionCheckpointer(Detector(), str(tmp_path), save_to_disk=False).save("x")
    assert os.listdir(tmp_path) == []


def test_load_of_a_missing_file_and_of_no_file() -> None:
    with pytest.raises(AssertionError, match="nothere.pth"):
        _load("nothere.pth")
    assert _load("")[1] == {}


# Files of weights.


@pytest.mark.parametrize("wrapped", [True, False])
def test_load_weights(tmp_path: Path, log: pytest.LogCaptureFixture, wrapped: bool) -> None:
    weights = _trunk_weights("backbone.")
    model, left = _load(tmp_path / "a.pth", {"model": weights, "x": 1} if wrapped else weights)
    assert model.loaded() == IN_MODEL and left == ({"x": 1} if wrapped else {})
    assert "head.{bias, weight}" in log.text
    assert "pixel_mean" not in log.text  # comes from the config, and may be missing


def test_weights_of_other_shapes_are_reported(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    weights = {"head.bias": torch.ones(3), "head.weight": torch.ones(2, 4), "odd": torch.ones(1)}
    model, _ = _load(tmp_path / "a.pth", {"model": weights})
    assert model.loaded() == {"head.weight"}
    assert "head.bias" in log.text and "(3,)" in log.text and "odd" in log.text


def test_old_anchors_are_not_unexpected(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    name = "proposal_generator.anchor_generator.cell_anchors.0"
    _load(tmp_path / "a.pth", {**_trunk_weights("backbone."), name: torch.ones(3, 4)})
    assert "cell_anchors" not in log.text


# Untrusted files.


class Evil:
    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.proof}",)


def test_loading_a_file_runs_no_code(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    with pytest.raises(pickle.UnpicklingError):
        _load(tmp_path / "a.pth", {"model": Evil(proof), "__author__": "x"})
    assert not proof.exists()
