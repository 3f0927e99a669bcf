"""The last lines of a run, which depend on the task."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from mvit_det.engine import summarize
from mvit_det.tasks import ActionDetection, Classification, Detection, Task, VideoClassification

ROOT = Path(__file__).resolve().parents[2]


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
        output_files={"a.png": "curves", "sub/b.csv": "table", "c.csv": "not there"},
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
        (
            Classification(),
            {"top1": 81.2, "top5": 95},
            "top1 81.2, x/top5 95.0",
            "imagenet",
            "--train-images",
        ),
        (VideoClassification(), {"top1": 81.2}, "top1 81.2", "kinetics", "--train-videos"),
        (
            ActionDetection(),
            {"mAP50": 26.84, "AP-stand": 80},
            "mAP50 26.8",
            "ava",
            "--train-actions",
        ),
    ],
)
def test_summary_of_each_task(summary, tmp_path, task, metrics, headline, config, flag):
    text = summary(task, {"x": metrics}, *task.output_files)
    assert f"Done. x/{headline}\n" in text
    assert all(f"  {tmp_path / name}  {what}\n" in text for name, what in task.output_files.items())
    assert f"--config-file {config}" in text and flag in text


@pytest.mark.parametrize(
    "program, folder, train, predict",
    [
        ("train_net.py", ROOT, "python train_net.py", "python -m mvit_det.predict"),
        ("/usr/bin/mvit-det", ROOT, "mvit-det train", "mvit-det predict"),
        ("/site-packages/mvit_det/train.py", "/", "mvit-det train", "mvit-det predict"),
    ],
)
def test_next_commands_work_where_the_run_was_started(
    summary, monkeypatch, program, folder, train, predict
):
    monkeypatch.setattr("sys.argv", [program])
    monkeypatch.chdir(folder)
    text = summary(Detection(), {})
    assert f"\n  {train} --config-file" in text and f"\n  {predict} --config-file" in text
    assert f"\n  custom data: {train} --config-file mask_rcnn_mvitv2_t_3x \\\n" in text


def test_unknown_task(summary):
    text = summary(Task(), {})
    assert "Done.\n" in text and "predict" not in text and "custom data" not in text
