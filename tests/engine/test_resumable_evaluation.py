"""A resumed test, after a kill, a stop or a full disk, equals an undisturbed one."""

import json
import re
import signal
import subprocess
import time
from argparse import Namespace
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
import toy
import toy_views
from detectron2.evaluation import DatasetEvaluator

from mvit_det import randomness
from mvit_det.engine import evaluate
from mvit_det.engine.folder import exclusive_test_dir
from mvit_det.engine.resumable_evaluation import description
from mvit_det.engine.stop import Stopped
from mvit_det.engine.train import do_train
from mvit_det.errors import UserError
from mvit_det.evaluation.video.store import ViewStore

RESULTS = ("results.txt", "video_scores.npz", "view_scores.npz", "class_accuracy.csv")
ITEMS = toy_views.VIDEOS * toy_views.CLIPS


@pytest.fixture(autouse=True)
def as_on_windows(monkeypatch):
    """Refuse to remove records that are mapped into memory."""
    remove = ViewStore.remove

    def remove_unmapped(self):
        assert ".scores" not in Path("/proc/self/maps").read_text()
        remove(self)

    monkeypatch.setattr(ViewStore, "remove", remove_unmapped)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "toy.pth"
    toy_views.save_weights(path)
    return path


@pytest.fixture(scope="module")
def whole(weights, tmp_path_factory) -> Path:
    """A test that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    results = evaluate(toy_views.config(folder, weights, batch_size=5))
    (folder / "results.txt").write_text(repr(results))
    assert not (folder / "unfinished_test").exists()
    return folder


def start(processes, folder, weights, event="", at=0, rank=0, *resume):
    arguments = processes, str(folder), str(weights), event, at, rank, *resume
    return forked.run(toy_views.launch, *arguments, output=folder / "printed")


def same(folder: Path, whole: Path) -> bool:
    return all((folder / name).read_bytes() == (whole / name).read_bytes() for name in RESULTS)


def errors(done: subprocess.CompletedProcess) -> list[str]:
    assert "Traceback" not in done.stdout + done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_a_killed_test_continues_in_two_processes(whole, weights, tmp_path):
    done = start(1, tmp_path, weights, "kill", 6)
    assert done.returncode == -signal.SIGKILL and not (tmp_path / "results.txt").exists()
    (path,) = (tmp_path / "unfinished_test").glob("*.scores")
    with open(path, "ab") as file:
        file.write(b"half a record")
    done = start(2, tmp_path, weights, "", 0, 0, "resume")
    assert done.returncode == 0, done.stderr
    # of ten clips two could not be read
    assert f"Resuming the test in {path.parent}: 8 of {ITEMS} clips are done" in done.stdout
    assert same(tmp_path, whole) and not path.parent.exists()


def test_one_process_continues_the_test_of_two_stopped_ones(whole, weights, tmp_path):
    done = start(2, tmp_path, weights, "interrupt launcher", 6)
    assert done.returncode == 130
    (line,) = errors(done)
    message = (
        rf"error: Stopped by SIGINT: (\d+) of {ITEMS} clips are done; continue with .*--resume\."
    )
    assert 8 <= int(re.fullmatch(message, line)[1]) < ITEMS
    assert len(list((tmp_path / "unfinished_test").glob("process*.scores"))) == 2
    resumed(weights, tmp_path)
    assert same(tmp_path, whole)


def test_a_full_disk_costs_the_scores_but_not_the_numbers(whole, weights, tmp_path):
    done = start(1, tmp_path, weights, "full", 6)
    assert done.returncode == 0 and not errors(done)
    printed = done.stdout + done.stderr
    assert printed.count("are no longer stored in") == 1
    assert "video_scores.npz cannot be written" in printed
    assert "view_scores.npz is not written: the scores of" in printed
    assert (tmp_path / "results.txt").read_bytes() == (whole / "results.txt").read_bytes()
    # what did reach the disk is not done again
    done = start(1, tmp_path, weights, "", 0, 0, "resume")
    assert done.returncode == 0 and "Resuming the test in" in done.stdout
    assert same(tmp_path, whole) and not (tmp_path / "unfinished_test").exists()


def interrupted(weights, folder, monkeypatch, at=6, resume=False) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(toy_views.Toy.__init__, "__defaults__", (6, "interrupt", at, 0))
        with pytest.raises(Stopped, match=f"of {ITEMS} clips are done; continue with --eval-only"):
            evaluate(toy_views.config(folder, weights), resume=resume)


def resumed(weights, folder) -> None:
    results = evaluate(toy_views.config(folder, weights, batch_size=7), resume=True)
    (folder / "results.txt").write_text(repr(results))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "unfinished_test").iterdir()}


def other_protocol(cfg, folder):
    cfg.dataloader.test.dataset.videos = 16


def other_model(cfg, folder):
    cfg.model.rank = 7


def other_weights(cfg, folder):
    toy_views.save_weights(folder / "other.pth", seed=1)
    cfg.train.init_checkpoint = str(folder / "other.pth")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            other_protocol,
            r"dataloader.test.dataset.videos: 17 there, 16 now, dataset: 51 clips, .*48",
        ),
        (other_model, r"\(model.rank: nothing there, 7 now\)"),
        (other_weights, r"\(weights: [0-9a-f]{16} there, [0-9a-f]{16} now\)"),
    ],
)
def test_another_test_is_refused_and_nothing_lost(weights, tmp_path, monkeypatch, change, message):
    interrupted(weights, tmp_path, monkeypatch)
    before = content(tmp_path)
    cfg = toy_views.config(tmp_path, weights)
    change(cfg, tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        evaluate(cfg, resume=True)
    assert "\n" not in str(caught.value) and content(tmp_path) == before


def test_without_resume_nothing_is_mixed_in(whole, weights, tmp_path, monkeypatch):
    interrupted(weights, tmp_path, monkeypatch)
    before = content(tmp_path)
    with pytest.raises(UserError, match="--eval-only --resume, (or )?choose another"):
        evaluate(toy_views.config(tmp_path, weights))
    assert content(tmp_path) == before
    interrupted(weights, tmp_path, monkeypatch, at=3, resume=True)
    cfg = toy_views.config(tmp_path, weights, batch_size=7)  # which makes it no other test
    cfg.dataloader.test.num_workers = 1
    assert repr(evaluate(cfg, resume=True)) == (whole / "results.txt").read_text()


def test_a_test_without_remaining_clips_does_not_run_the_model(
    whole, weights, tmp_path, monkeypatch
):
    cfg = toy_views.config(tmp_path, weights)
    cfg.dataloader.test.mapper = toy_views.sound
    with monkeypatch.context() as patch:
        patch.setattr("mvit_det.evaluation.video.evaluator.write_arrays", raise_full)
        first = evaluate(cfg)
    assert (tmp_path / "unfinished_test").exists() and not (tmp_path / "view_scores.npz").exists()
    monkeypatch.setattr(toy_views.Toy, "forward", None)
    assert repr(evaluate(cfg, resume=True)) == repr(first)
    assert (tmp_path / "view_scores.npz").exists() and not (tmp_path / "unfinished_test").exists()


def raise_full(*_, **__):
    raise UserError("view_scores.npz cannot be written: make room.")


def test_damaged_records_are_done_again(whole, weights, tmp_path, monkeypatch, caplog):
    interrupted(weights, tmp_path, monkeypatch, at=9)
    (path,) = (tmp_path / "unfinished_test").glob("*.scores")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    data[-56:] = bytes(56)  # a record that never reached the disk
    path.write_bytes(data)
    results = evaluate(toy_views.config(tmp_path, weights), resume=True)
    assert caplog.text.count("2 damaged records in") == 1
    (tmp_path / "results.txt").write_text(repr(results))
    assert same(tmp_path, whole)


def test_resume_without_an_interrupted_test(whole, weights, tmp_path, caplog):
    results = evaluate(toy_views.config(tmp_path, weights), resume=True)
    assert "contains no interrupted test" in caplog.text
    assert repr(results) == (whole / "results.txt").read_text()


class Count(DatasetEvaluator):
    """Needs all of a test."""

    def reset(self):
        self.count = 0

    def process(self, inputs, outputs):
        self.count += len(outputs)

    def evaluate(self):
        return {"count": {"clips": self.count}}


def test_with_an_evaluator_that_needs_all_clips_a_new_test_starts(weights, tmp_path, caplog):
    cfg = toy_views.config(tmp_path, weights)
    cfg.dataloader.evaluator.append(dict(_target_=Count))
    results = evaluate(cfg, resume=True)
    assert results["count"] == {"clips": ITEMS}
    assert "Starting a new test: with Count a test cannot be resumed." in caplog.text
    assert not (tmp_path / "unfinished_test").exists()


def test_stopping_a_test_that_cannot_be_resumed(weights, tmp_path, monkeypatch):
    cfg = toy_views.config(tmp_path, weights)
    cfg.dataloader.evaluator = [dict(_target_=Count)]
    monkeypatch.setattr(toy_views.Toy.__init__, "__defaults__", (6, "terminate", 3, 0))
    with pytest.raises(
        Stopped, match="SIGTERM: no results of the test are kept; start it again"
    ) as end:
        evaluate(cfg)
    assert end.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def hold_test_dir(folder: str) -> None:
    with exclusive_test_dir(folder):
        Path(folder, "held").touch()
        time.sleep(60)


def test_one_test_at_a_time(weights, tmp_path):
    other = forked.start(hold_test_dir, str(tmp_path), output=tmp_path / "printed")
    while not (tmp_path / "held").exists():
        assert other.is_alive()
        time.sleep(0.01)
    with pytest.raises(UserError, match=f"is in use by process {other.pid} on"):
        evaluate(toy_views.config(tmp_path, weights))
    other.kill()
    other.join()
    with exclusive_test_dir(tmp_path):
        pass


def test_evaluations_within_a_training_keep_no_partial_results(tmp_path, monkeypatch):
    monkeypatch.setattr("mvit_det.engine.hooks.draw_curves", lambda *_: [])
    monkeypatch.setattr(toy.Toy, "forward", probabilities_when_tested(toy.Toy.forward))
    cfg = toy.config(
        tmp_path,
        eval_period=2,
        best_metric="classification/top1",
        max_iter=4,
        ema=dict(enabled=True, decay=0.5),
    )
    views = toy_views.config(tmp_path, "")
    cfg.dataloader.test, cfg.dataloader.evaluator = (
        views.dataloader.test,
        views.dataloader.evaluator[:1],  # without the count of unreadable views
    )
    with randomness.seeded(0):  # with other weights no video may be classified correctly
        results = do_train(Namespace(resume=False), cfg)
    best = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert best["metric"] == "classification/top1"
    assert best["value"] >= results["classification"]["top1"] > 0
    assert (tmp_path / "video_scores.npz").exists()
    assert not (tmp_path / "unfinished_test").exists()
    assert not (tmp_path / "view_scores.npz").exists()
    logged = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert sum("classification/top1" in line for line in logged) == 2


def probabilities_when_tested(forward):
    def both(self, batch):
        if self.training:
            return forward(self, batch)
        return self.layers(batch["inputs"].flatten(2)[..., : toy.WIDTH].mean(1))[:, :6].softmax(1)

    return both


def test_description_of_a_test(weights, tmp_path):
    cfg = toy_views.config(tmp_path, weights)
    here = description(cfg, toy_views.Toy())
    assert here["dataloader.test.mapper"] == '"noise"'
    assert here["dataloader.test.dataset.clips"] == "3"
    assert here["model._target_"] == "Toy"
    cfg.model._target_ = "toy_views.Toy"  # as in a saved config
    assert description(cfg, toy_views.Toy())["model._target_"] == "Toy"
    assert not any(key.endswith(("batch_size", "num_workers")) for key in here)
    model = toy_views.Toy()
    before = description(cfg, model)
    cfg.model.update(fused_attention=False, use_act_checkpoint=True, max_views=1)
    assert description(cfg, model) == before
    cfg.train.eval_precision = "fp32"
    assert description(cfg, model) == before
    cfg.train.eval_precision = "bf16"
    assert description(cfg, model) == {**before, "train.eval_precision": "bf16"}
    with torch.no_grad():
        model.layer.bias[0] += 1e-7
    assert description(cfg, model)["weights"] != before["weights"]


def test_numpy_reads_the_scores_of_views(whole):
    file = np.load(whole / "view_scores.npz")
    top1 = (np.nanmean(file["scores"], axis=(1, 2)).argmax(1) == file["label"]).mean()
    assert f"'top1': {100 * top1}" in (whole / "results.txt").read_text()
    assert file["scores"].shape == (16, 3, 2, 6)
    absent = np.isnan(file["scores"]).all(axis=(2, 3))
    names = file["file_name"].tolist()
    assert [(names[v], k) for v, k in zip(*absent.nonzero())] == [("v2.mp4", 1), ("v5.mp4", 1)]
