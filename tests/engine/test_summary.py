"""The last lines of a run: what they have from the task."""

import logging
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from mvit_det.engine import summarize
from mvit_det.tasks import ActionDetection, Classification, Detection, Task, VideoClassification


@pytest.fixture
def summary(tmp_path, caplog, monkeypatch):
    """What `summarize` logs of a run in a folder with the given files."""
    # Detectron2's setup_logger, which other tests call, keeps the log from caplog
    monkeypatch.setattr(logging.getLogger("mvit_det"), "propagate", True)

    def run(task, results: dict, *files: str) -> str:
        for name in files:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("")
        with caplog.at_level(logging.INFO):
            summarize(OmegaConf.create(dict(train=dict(output_dir=str(tmp_path)))), results, task)
        return caplog.text

    return run


def test_what_the_task_names_and_what_exists(summary, tmp_path):
    task = SimpleNamespace(
        headlines=("b", "a"),
        leaves={"a.png": "curves", "sub/b.csv": "table", "c.csv": "not there"},
        custom_data_command=("configs/x.py", "--flags F"),
        predict_inputs="THINGS",
    )
    results = {"toy": dict(a=81.26, b=3.0, c=80.0), "unreadable": {"images": 3}}
    text = summary(task, results, "a.png", "sub/b.csv", "model_final.pth")
    assert "Done. toy/b 3.0, toy/a 81.3\n" in text
    for name in ("a.png  curves", "sub/b.csv  table", "model_final.pth  the last weights"):
        assert f"  {tmp_path / name}\n" in text
    assert "c.csv" not in text and "metrics.json" not in text
    assert " THINGS --output FOLDER\n" in text
    assert "--config-file configs/x.py \\\n      --flags F" in text


@pytest.mark.parametrize(
    "task, metrics, headline, config, flag",
    [
        (Detection(), {"AP": 50.04, "AP75": 3}, "AP 50.0", "mask_rcnn", "--train-json FILE"),
        (Classification(), {"top1": 81.2, "top5": 95}, "top1 81.2, x/top5 95.0", "imagenet", "--train-images"),
        (VideoClassification(), {"top1": 81.2}, "top1 81.2", "kinetics", "--train-videos"),
        (ActionDetection(), {"mAP50": 26.84, "AP-stand": 80}, "mAP50 26.8", "ava", "--train-actions"),
    ],
)  # fmt: skip
def test_each_task_tells_its_own(summary, tmp_path, task, metrics, headline, config, flag):
    text = summary(task, {"x": metrics}, *task.leaves)
    assert f"Done. x/{headline}\n" in text
    assert all(f"  {tmp_path / name}  {what}\n" in text for name, what in task.leaves.items())
    assert f"--config-file configs/{config}" in text and flag in text


def test_of_no_task_that_is_known(summary):
    text = summary(Task(), {})
    assert "Done.\n" in text and "predict" not in text and "your own data" not in text
