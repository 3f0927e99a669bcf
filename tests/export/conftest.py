"""Tiny models with random weights, exported once."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from predict_scenes import QUICKSTART, TINY, finished_run

from mvit_det.engine import apply_overrides, load_config
from mvit_det.export.__main__ import argument_parser, main

SMALLER = [
    *TINY,
    "model.backbone.bottom_up.depth=4",
    "model.backbone.bottom_up.last_block_indexes=[0,1,2,3]",
    "model.roi_heads.box_predictor.test_score_thresh=0.0",
]


def export(config: Path, folder: Path, *flags: str) -> SimpleNamespace:
    """Run the command; return ``folder`` and ``description``."""
    words = ["--config-file", str(config), "--output", str(folder), *flags]
    return SimpleNamespace(folder=folder, description=main(argument_parser().parse_args(words)))


@pytest.fixture(scope="session")
def detector_run(tmp_path_factory) -> SimpleNamespace:
    """A finished run of a tiny Mask R-CNN."""
    folder = tmp_path_factory.mktemp("run")
    cfg = apply_overrides(load_config(QUICKSTART), [*SMALLER, f"train.output_dir={folder}"])
    return finished_run(cfg, folder)


@pytest.fixture(scope="session")
def exported_detector(detector_run, tmp_path_factory) -> SimpleNamespace:
    """The tiny Mask R-CNN as ONNX."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    return export(detector_run.config, tmp_path_factory.mktemp("onnx"))
