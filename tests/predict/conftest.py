"""A tiny detector and a tiny action detector with random weights, and a folder of inputs."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from people_scenes import finished_action_run
from PIL import Image
from predict_scenes import QUICKSTART, TINY, finished_run, picture, write_video

from mvit_det.engine import apply_overrides, load_config
from mvit_det.predict import Predictor


@pytest.fixture(autouse=True)
def log_is_seen(monkeypatch):
    """Detectron2's setup_logger, which other tests call, keeps the log from pytest's caplog."""
    monkeypatch.setattr(logging.getLogger("mvit_det"), "propagate", True)


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> SimpleNamespace:
    """As a training leaves it: ``folder`` with config.yaml and model_final.pth (``weights``)."""
    folder = tmp_path_factory.mktemp("run")
    cfg = apply_overrides(load_config(QUICKSTART), [*TINY, f"train.output_dir={folder}"])
    return finished_run(cfg, folder)


@pytest.fixture(scope="session")
def ava(tmp_path_factory) -> SimpleNamespace:
    """An action detector: see `finished_action_run`."""
    return finished_action_run(tmp_path_factory.mktemp("ava"))


@pytest.fixture(scope="session")
def people_predictor(ava) -> Predictor:
    return Predictor(ava.config, batch_size=2)


@pytest.fixture
def inputs(tmp_path) -> Path:
    """A folder with pictures, one of them broken, one in a folder below, and a video."""
    folder = tmp_path / "inputs"
    (folder / "below").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number, name in enumerate(("a.jpg", "b.png", "below/a.jpg", ".hidden/c.png")):
        Image.fromarray(picture(48, 64, number)[:, :, ::-1]).save(folder / name)
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:300])
    (folder / "notes.txt").write_text("no picture")
    write_video(folder / "clip.avi", count=5, fps=12.5, size=(49, 65))
    return folder
