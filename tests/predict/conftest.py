"""A tiny detector and a tiny action detector with random weights, and a folder of inputs."""

import functools
import logging
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
from people_scenes import finished_action_run
from PIL import Image
from predict_scenes import QUICKSTART, TINY, finished_run, picture, write_video

from mvit_det.engine import apply_overrides, load_config
from mvit_det.predict import Predictor, person_boxes, predictor
from mvit_det.tasks import actions, classification, detection


@pytest.fixture(autouse=True)
def propagating_log(monkeypatch):
    """Detectron2's setup_logger, which other tests call, keeps the log from pytest's caplog."""
    monkeypatch.setattr(logging.getLogger("mvit_det"), "propagate", True)


load_once = functools.cache(load_config)


@pytest.fixture(autouse=True)
def configs_loaded_once(monkeypatch):
    """Parse each config once: that takes longer than a prediction of these models."""
    for module in (predictor, person_boxes):
        monkeypatch.setattr(
            module, "load_config", lambda path, _=(): deepcopy(load_once(str(path)))
        )


@pytest.fixture
def small_pictures(monkeypatch):
    """Do not enlarge annotated pictures: encoding them takes longer than all else."""
    for module in (actions, classification, detection):
        monkeypatch.setattr(module, "enlargement", lambda height, width: 1.0)


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> SimpleNamespace:
    """A finished run of a detector: ``folder``, ``config`` (.yaml), ``weights``, ``cfg``."""
    folder = tmp_path_factory.mktemp("run")
    cfg = apply_overrides(load_config(QUICKSTART), [*TINY, f"train.output_dir={folder}"])
    return finished_run(cfg, folder)


@pytest.fixture(scope="session")
def ava(tmp_path_factory) -> SimpleNamespace:
    """A finished run of an action detector: see `finished_action_run`."""
    return finished_action_run(tmp_path_factory.mktemp("ava"))


@pytest.fixture(scope="session")
def people_predictor(ava) -> Predictor:
    return Predictor(ava.config, batch_size=2)


@pytest.fixture
def inputs(tmp_path) -> Path:
    """A folder with pictures, one of them broken, one in a subfolder, and a video."""
    folder = tmp_path / "inputs"
    (folder / "below").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number, name in enumerate(("a.jpg", "b.png", "below/a.jpg", ".hidden/c.png")):
        Image.fromarray(picture(48, 64, number)[:, :, ::-1]).save(folder / name)
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:300])
    (folder / "notes.txt").write_text("no picture")
    write_video(folder / "clip.avi", count=5, fps=12.5, size=(49, 65))
    return folder
