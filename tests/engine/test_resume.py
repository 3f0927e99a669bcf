"""A resumed run is the run that was never interrupted: on a toy model that draws everywhere."""

import errno
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import forked
import pytest
import torch
import toy
from toy import Killed, killed_before

from mvit_det.engine.folder import exclusive_output_dir
from mvit_det.engine.stop import Stopped
from mvit_det.engine.trainer import Trainer
from mvit_det.errors import UserError


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    monkeypatch.setattr("mvit_det.engine.hooks.draw_curves", lambda *_: [])


def raise_killed(*_) -> None:
    raise Killed


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("parts", [1, 2])
def test_row_01_a_killed_run_continues_bit_for_bit(workers, parts, tmp_path, monkeypatch):
    def config(folder):
        cfg = toy.config(folder, gradient_accumulation=parts, eval_period=2)
        cfg.dataloader.train.num_workers = workers
        cfg.dataloader.train.total_batch_size = 2 * parts
        return cfg

    toy.train(config(tmp_path / "whole"))
    for last in (4, 6, 8):
        folder = tmp_path / f"killed{last}"
        with monkeypatch.context() as patch:
            killed_before(last, patch)
            with pytest.raises(Killed):
                toy.train(config(folder))
        toy.train(config(folder), resume=True)
        assert toy.logged(folder) == toy.logged(tmp_path / "whole")
        expected = toy.weights(tmp_path / "whole")
        assert all(torch.equal(expected[k], v) for k, v in toy.weights(folder).items())


def test_evaluation_leaves_no_trace_in_training(tmp_path):
    toy.train(toy.config(tmp_path / "without"))
    toy.train(toy.config(tmp_path / "with", eval_period=2))
    assert toy.equal(toy.weights(tmp_path / "without"), toy.weights(tmp_path / "with"))


def test_resume_without_a_checkpoint_starts_a_new_run_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        toy.train(toy.config(tmp_path), resume=True)
    assert "No checkpoint" in caplog.text and (tmp_path / "model_final.pth").exists()


def test_row_11_the_config_of_the_resumed_run_is_honoured(tmp_path, caplog):
    toy.train(toy.config(tmp_path, max_iter=6))
    cfg = toy.config(tmp_path, max_iter=8)
    cfg.optimizer.lr, cfg.optimizer.weight_decay = 1e-3, 0.2
    with caplog.at_level(logging.INFO):
        toy.train(cfg, resume=True)
    assert "lr: 0.01 -> 0.001" in caplog.text and "weight_decay: 0.1 -> 0.2" in caplog.text
    group = torch.load(tmp_path / "model_final.pth", weights_only=True)["trainer"]["optimizer"]
    assert group["param_groups"][0]["weight_decay"] == 0.2
    # past the only milestone of eight iterations: a tenth
    assert toy.logged(tmp_path)[7]["lr"] == pytest.approx(1e-4)


def test_more_parts_of_a_batch_keep_the_position_in_the_data(tmp_path):
    cfg = toy.config(tmp_path / "a", max_iter=3)
    cfg.dataloader.train.total_batch_size = 4
    toy.train(cfg)
    state = torch.load(tmp_path / "a" / "model_final.pth", weights_only=True)["loader"]
    assert state == {"seed": 3, "samples": 12}
    cfg.train.gradient_accumulation, cfg.train.max_iter = 2, 4
    toy.train(cfg, resume=True)
    state = torch.load(tmp_path / "a" / "model_final.pth", weights_only=True)["loader"]
    assert state == {"seed": 3, "samples": 16}


def test_row_10_a_resumed_run_keeps_count_and_best(tmp_path):
    """Detectron2 forgets both: it keeps six files here, and the worse weights."""

    def config(max_iter):
        keep = dict(period=1, max_to_keep=2)
        return toy.config(tmp_path, max_iter=max_iter, checkpointer=keep, eval_period=2)

    toy.Score.scores = [10.0, 50.0]
    toy.train(config(4))
    best = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert best["value"] == 50.0 and "trainer" not in best
    toy.Score.scores = [40.0, 30.0]
    toy.train(config(8), resume=True)
    assert torch.load(tmp_path / "model_best.pth", weights_only=True)["value"] == 50.0
    numbered = sorted(path.name for path in tmp_path.glob("model_0*.pth"))
    assert numbered == ["model_0000006.pth", "model_0000007.pth"]
    toy.Score.scores = [60.0]
    toy.train(config(9), resume=True)
    assert torch.load(tmp_path / "model_best.pth", weights_only=True)["value"] == 60.0


@pytest.mark.parametrize("missed", [True, False])
def test_row_10_a_resumed_run_repeats_the_evaluation_in_which_it_was_killed(
    missed, tmp_path, monkeypatch
):
    def config():
        return toy.config(tmp_path, eval_period=3, best_metric="toy/score")

    toy.Score.scores = [70.0]
    with monkeypatch.context() as patch:
        if missed:  # killed in the evaluation after iteration 2
            patch.setattr(toy.Score, "process", raise_killed)
        else:
            killed_before(3, patch)
        with pytest.raises(Killed):
            toy.train(config())
    toy.Score.scores = [70.0, 20.0, 20.0, 20.0] if missed else [20.0, 20.0, 20.0]
    toy.train(config(), resume=True)
    assert toy.Score.scores == []
    assert [toy.logged(tmp_path)[i]["toy/score"] for i in (2, 5, 8, 10)] == [70.0, 20.0, 20.0, 20.0]
    best = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert (best["value"], best["iteration"]) == (70.0, 2)
    expected = toy.weights(tmp_path, "model_0000002")
    assert all(torch.equal(expected[key], value) for key, value in best["model"].items())


def test_row_07_a_used_folder_is_refused(tmp_path):
    toy.train(toy.config(tmp_path, max_iter=3))
    before = (tmp_path / "model_final.pth").read_bytes()
    with pytest.raises(UserError, match=r"holds the checkpoints of another run .*--resume"):
        toy.train(toy.config(tmp_path, max_iter=3))
    assert (tmp_path / "model_final.pth").read_bytes() == before


def hold_output_dir(folder: str) -> None:
    with exclusive_output_dir(folder, resume=False):
        if os.fork() == 0:  # the child, which is like a worker of a loader, has let the lock go
            Path(folder, "held").touch()
        time.sleep(60)


def test_row_08_a_folder_in_use_is_refused(tmp_path):
    """Until the process that holds it ends; workers that outlive it do not count."""
    holder = forked.start(
        hold_output_dir, str(tmp_path), output=tmp_path / "printed", new_session=True
    )
    try:
        while not (tmp_path / "held").exists():
            assert holder.is_alive()
            time.sleep(0.01)
        held = rf"in use by process {holder.pid} on {socket.gethostname()}"
        with pytest.raises(UserError, match=held):
            with exclusive_output_dir(tmp_path, resume=True):
                pass
        holder.kill()
        holder.join()
        with exclusive_output_dir(tmp_path, resume=True):
            pass
    finally:
        os.killpg(holder.pid, signal.SIGKILL)


def test_a_lock_that_is_a_link_to_another_file_is_refused(tmp_path):
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / ".lock").symlink_to(other)
    with pytest.raises(UserError, match=r"\.lock cannot be opened as the lock .*: remove it, or"):
        with exclusive_output_dir(tmp_path, resume=False):
            pass
    assert other.read_text() == "kept"


def test_a_resumed_run_maps_no_checkpoint_on_windows(tmp_path, monkeypatch):
    """Which would not let it write the file again at its end."""

    def step(self, original=Trainer.run_step):
        assert f"{tmp_path}/model" not in Path("/proc/self/maps").read_text()
        original(self)

    toy.train(toy.config(tmp_path, max_iter=3))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(Trainer, "run_step", step)
    toy.train(toy.config(tmp_path, max_iter=4), resume=True)
    assert max(toy.logged(tmp_path)) == 4


def test_parts_must_divide_the_batch(tmp_path):
    with pytest.raises(UserError, match=r"gradient_accumulation=3.*must divide .*=2"):
        toy.train(toy.config(tmp_path, gradient_accumulation=3))


def test_row_04_a_run_killed_while_the_last_file_is_written_is_completed(
    tmp_path, monkeypatch, caplog
):
    def config(folder):
        return toy.config(folder, max_iter=6)

    toy.train(config(tmp_path / "whole"))
    folder = tmp_path / "killed"
    original = torch.save

    def save(data, file):
        original(data, file) if "final" not in file.name else raise_killed()

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(Killed):
            toy.train(config(folder))
    assert not (folder / "model_final.pth").exists()
    toy.train(config(folder), resume=True)
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"
    assert toy.equal(toy.weights(tmp_path / "whole"), toy.weights(folder))
    before = (folder / "model_final.pth").stat().st_mtime_ns
    toy.train(config(folder), resume=True)
    assert (folder / "model_final.pth").stat().st_mtime_ns == before


def test_row_09_a_run_continues_when_there_is_space_again(tmp_path, monkeypatch):
    def config(folder):
        return toy.config(folder, eval_period=2)

    toy.train(config(tmp_path / "whole"))
    original, folder = torch.save, tmp_path / "run"

    def full(data, file):
        if "0000005" in file.name:
            file.write(bytes(1000))
            raise OSError(errno.ENOSPC, "No space left on device")
        original(data, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        sentence = r"0000005.pth cannot be written.*needs \d.* MiB.* free .*--resume\.$"
        with pytest.raises(UserError, match=sentence):
            toy.train(config(folder))
    assert not list(folder.glob("*0000005*")) and not list(folder.glob("*.partial"))
    assert (folder / "last_checkpoint").read_text() == "model_0000002.pth"
    toy.train(config(folder), resume=True)
    assert toy.logged(folder) == toy.logged(tmp_path / "whole")
    assert toy.equal(toy.weights(tmp_path / "whole"), toy.weights(folder))


@pytest.mark.parametrize("written", [False, True])
def test_row_15_a_run_resumes_from_its_last_finite_checkpoint(
    written, tmp_path, monkeypatch, caplog
):
    """``written``: another program, such as Detectron2, has saved the weights that diverged."""
    toy.train(toy.config(tmp_path / "whole"))
    folder, original = tmp_path / "run", toy.Toy.forward

    def diverging(self, batch):
        diverging.calls += 1
        losses = original(self, batch)
        return {
            name: loss * (float("inf") if diverging.calls == 8 else 1)
            for name, loss in losses.items()
        }

    diverging.calls = 0
    with monkeypatch.context() as patch:
        patch.setattr(toy.Toy, "forward", diverging)
        with pytest.raises(UserError, match="diverged at iteration 7: .*loss_abs=inf"):
            toy.train(toy.config(folder))
    assert (folder / "last_checkpoint").read_text() == "model_0000005.pth"
    if written:
        state = torch.load(folder / "model_0000005.pth", weights_only=True)
        state["model"]["layers.0.weight"][3] = float("nan")
        torch.save(dict(state, iteration=6), folder / "model_0000006.pth")
        (folder / "last_checkpoint").write_text("model_0000006.pth")
    with caplog.at_level(logging.WARNING):
        toy.train(toy.config(folder), resume=True)
    assert ("model_0000006.pth: layers.0.weight are not finite" in caplog.text) == written
    assert toy.equal(toy.weights(tmp_path / "whole"), toy.weights(folder))


def test_weights_alone_are_not_resumed_from(tmp_path, caplog):
    toy.train(toy.config(tmp_path, max_iter=6, checkpointer=dict(period=2)))
    alone = {"model": toy.weights(tmp_path), "iteration": 5}
    torch.save(alone, tmp_path / "model_final.pth")
    os.replace(tmp_path / "model_final.pth", tmp_path / "model_0000005.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000005.pth")
    with caplog.at_level(logging.WARNING):
        toy.train(toy.config(tmp_path, max_iter=6), resume=True)
    assert "no state of trainer: weights alone; resuming from" in caplog.text
    assert "model_0000003.pth" in caplog.text
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["iteration"] == 5


@pytest.mark.parametrize("keep", [-1, 2.5, True])
def test_a_number_of_files_to_keep_that_is_none(keep, tmp_path):
    with pytest.raises(UserError, match="max_to_keep=.* must be a whole"):
        toy.train(toy.config(tmp_path, checkpointer=dict(period=1, max_to_keep=keep)))


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_row_12_a_signal_ends_the_run_after_an_iteration_with_a_checkpoint(
    name, code, tmp_path, monkeypatch
):
    toy.train(toy.config(tmp_path / "whole"))
    original = toy.Toy.forward

    def forward(self, batch):
        forward.calls += 1
        if forward.calls == 5:
            os.kill(os.getpid(), number)
        return original(self, batch)

    forward.calls = 0
    number = getattr(signal, name)
    before = signal.getsignal(number)
    if before == signal.SIG_IGN:  # as where nohup started these tests
        signal.signal(number, signal.SIG_DFL)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(toy.Toy, "forward", forward)
            stopped = f"Stopped by {name} after iteration 4.*--resume"
            with pytest.raises(Stopped, match=stopped) as end:
                toy.train(toy.config(tmp_path / "stopped"))
    finally:
        signal.signal(number, before)
    assert end.value.exit_code == code
    assert (tmp_path / "stopped" / "last_checkpoint").read_text() == "model_0000004.pth"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    toy.train(toy.config(tmp_path / "stopped"), resume=True)
    assert toy.equal(toy.weights(tmp_path / "whole"), toy.weights(tmp_path / "stopped"))


def test_row_12_a_signal_in_an_evaluation_ends_it_at_once_and_saves(tmp_path, monkeypatch):
    toy.train(toy.config(tmp_path / "whole"))

    def process(self, inputs, outputs):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the evaluation continues")

    with monkeypatch.context() as patch:
        patch.setattr(toy.Score, "process", process)
        with pytest.raises(Stopped):
            toy.train(toy.config(tmp_path / "stopped", eval_period=5))
        assert (tmp_path / "stopped" / "last_checkpoint").read_text() == "model_0000004.pth"
        # once more, in the evaluation that the resumed run repeats
        with pytest.raises(Stopped):
            toy.train(toy.config(tmp_path / "stopped", eval_period=5), resume=True)
        assert (tmp_path / "stopped" / "last_checkpoint").read_text() == "model_0000004.pth"
    toy.train(toy.config(tmp_path / "stopped"), resume=True)
    assert toy.equal(toy.weights(tmp_path / "whole"), toy.weights(tmp_path / "stopped"))
