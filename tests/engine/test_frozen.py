"""Workers of loaders that are stopped, before or while their tensors are fetched."""

import os
import resource
import signal
import sys
import time
from argparse import Namespace

import forked
import pytest
import torch
import toy

from mvit_det.data import build_train_loader
from mvit_det.engine import hooks, run
from mvit_det.engine.trainer import WatchedLoader
from mvit_det.errors import UserError


class Stops:
    """A mapper in a worker that stops its process: before the batch is sent, or after it."""

    def __init__(self, sent: bool):
        self.sent = sent

    def __call__(self, item: dict) -> dict:
        if item["index"] == 5:
            pid = os.getpid()
            if not self.sent:
                os.kill(pid, signal.SIGSTOP)
            elif os.fork() == 0:
                time.sleep(0.5)  # the batch is in the queue, and its tensors are in this process
                os.kill(pid, signal.SIGSTOP)
                os._exit(0)
        return dict(item, x=torch.ones(toy.WIDTH))


def train(folder: str, sent: bool) -> None:
    cfg = toy.config(folder, timeout=3)
    cfg.dataloader.train.mapper = Stops(sent)
    cfg.dataloader.train.num_workers = 1
    original = toy.Toy.forward

    def slow(self, batch):
        time.sleep(1)
        return original(self, batch)

    toy.Toy.forward = slow
    hooks.draw_curves = lambda *_: []
    args = Namespace(num_gpus=1, num_machines=1, machine_rank=0, dist_url="auto")
    run(lambda args: toy.train(cfg), args)


def hang(item: dict) -> dict:
    time.sleep(60 if item["index"] == 5 else 0)
    return dict(item, x=torch.ones(toy.WIDTH))


def train_as_on_windows(folder: str) -> None:
    sys.platform = "win32"
    cfg = toy.config(folder, timeout=1)
    cfg.dataloader.train.mapper = hang
    cfg.dataloader.train.num_workers = 1
    hooks.draw_curves = lambda *_: []
    args = Namespace(num_gpus=1, num_machines=1, machine_rank=0, dist_url="auto")
    run(lambda args: toy.train(cfg), args)


@pytest.mark.slow
def test_without_timer_signals_a_worker_that_hangs_ends_the_run(tmp_path):
    done = forked.run(train_as_on_windows, str(tmp_path / "run"), output=tmp_path / "printed")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "gave no batch for 1 seconds (train.timeout), since its disk or a file" in done.stderr


@pytest.mark.parametrize("sent", [False, True])
def test_row_37_a_stopped_worker_ends_the_run_in_time(sent, tmp_path):
    started = time.monotonic()
    done = forked.run(train, str(tmp_path / "run"), sent, output=tmp_path / "printed")
    assert time.monotonic() - started < 60 and "Traceback" not in done.stderr, done.stderr
    assert "gave no batch for 3 seconds" in done.stderr and "is stopped: continue" in done.stderr


@pytest.fixture
def files():
    """The limits of open files, restored after the test, which lowers the soft one alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_of_open_files_is_raised_or_the_fault_is_said(files, monkeypatch):
    make = dict(mapper=toy.noisy, total_batch_size=4, num_workers=4, seed=1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (140, files))
    build_train_loader(toy.dataset(9), **make)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 128 + 5 * (8 + 2 * 5 * 4)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (140, 256))
    with pytest.raises(UserError, match="368 open files and the system allows 256: .*ulimit -n"):
        build_train_loader(toy.dataset(9), **make)


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset by peer"), EOFError()])
def test_a_worker_that_is_killed_while_it_passes_a_batch_on_ends_in_one_sentence(error):
    class Loader:
        num_workers = 1

        def __iter__(self):
            raise error
            yield

    with pytest.raises(UserError, match="ended from outside .*--resume"):
        next(iter(WatchedLoader(Loader(), 60)))
