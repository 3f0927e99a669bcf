"""The training loop (run by `Trainer`), hooks, the start of a run, and several processes."""

import functools
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyCall, LazyConfig
from detectron2.engine import (
    HookBase,
    default_argument_parser,
    default_setup,
    hooks,
    launch,
)
from detectron2.engine.defaults import create_ddp_model
from detectron2.solver import LRMultiplier
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, JSONWriter
from fvcore.common.param_scheduler import MultiStepParamScheduler
from omegaconf import OmegaConf
from torch import multiprocessing, nn

import mvit_det
from mvit_det.engine.trainer import Trainer, WatchedLoader

embedded_only = pytest.mark.skipif(mvit_det.host() == "real", reason="is about the embedded host")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Capture the log of detectron2, independent of the handlers of other tests."""
    monkeypatch.setattr(logging.getLogger("detectron2"), "propagate", True)
    caplog.set_level(logging.INFO, logger="detectron2")
    return caplog


class Net(nn.Module):
    def __init__(self, factor: float = 1.0):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
        self.factor = factor

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.b(self.a(x))
        return {"loss_square": self.factor * y.pow(2).mean(), "loss_abs": y.abs().mean()}


class Stream:
    """An endless loader."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        while True:
            yield torch.randn(3, 2, generator=generator)


class Trace(HookBase):
    """Record the calls of the hook methods."""

    def __init__(self):
        self.calls: list[tuple] = []

    def _record(self, moment: str) -> None:
        self.calls.append((moment, self.trainer.iter, self.trainer.storage.iter))

    def before_train(self) -> None:
        self._record("before_train")

    def after_train(self) -> None:
        self._record("after_train")

    def before_step(self) -> None:
        self._record("before_step")

    def after_backward(self) -> None:
        self._record("after_backward")

    def after_step(self) -> None:
        self._record("after_step")


class Failing(HookBase):
    def after_step(self) -> None:
        raise KeyError("on purpose")


def _trainer(model: nn.Module | None = None) -> Trainer:
    model = model or Net()
    return Trainer(model, WatchedLoader(Stream()), torch.optim.SGD(model.parameters(), lr=0.1))


# The loop.


def test_order_of_hook_calls() -> None:
    trainer, trace = _trainer(), Trace()
    trainer.register_hooks([None, trace])
    trainer.train(3, 5)
    step = ("before_step", "after_backward", "after_step")
    assert trace.calls == [
        ("before_train", 3, 3),
        *[(moment, 3, 3) for moment in step],
        *[(moment, 4, 4) for moment in step],
        ("after_train", 5, 5),
    ]


def test_hooks_run_after_a_failure(log: pytest.LogCaptureFixture) -> None:
    trainer, trace = _trainer(), Trace()
    trainer.register_hooks([trace, Failing()])
    with pytest.raises(KeyError, match="on purpose"):
        trainer.train(0, 3)
    assert trace.calls[-1][0] == "after_train" and trainer.iter == 0
    assert "on purpose" in log.text


def test_losses_are_recorded_with_their_sum() -> None:
    trainer = _trainer()
    with torch.no_grad():
        expected = Net()(next(iter(Stream())))
    trainer.train(0, 1)
    latest = {name: value for name, (value, _) in trainer.storage.latest().items()}
    assert latest["loss_square"] == pytest.approx(float(expected["loss_square"]))
    assert latest["total_loss"] == pytest.approx(float(sum(expected.values())))
    assert {"data_time", "rank_data_time"} <= set(latest)


def test_a_model_may_return_a_single_loss() -> None:
    class OneLoss(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)["loss_abs"]

    trainer = _trainer(OneLoss())
    trainer.train(0, 1)
    assert "total_loss" in trainer.storage.latest()
    assert len(trainer.storage.history("total_loss").values()) == 1


# Hooks.


def _full_trainer(folder: Path) -> tuple[Trainer, DetectionCheckpointer]:
    trainer = _trainer()
    schedule = MultiStepParamScheduler([1.0, 0.1], milestones=[4], num_updates=6)
    checkpointer = DetectionCheckpointer(trainer.model, str(folder), trainer=trainer)
    trainer.register_hooks(
        [
            hooks.IterationTimer(),
            hooks.LRScheduler(scheduler=LRMultiplier(trainer.optimizer, schedule, 6)),
            hooks.PeriodicWriter([JSONWriter(str(folder / "metrics.json"))], period=2),
        ]
    )
    return trainer, checkpointer


def test_run_with_all_hooks(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    trainer, _ = _full_trainer(tmp_path)
    trainer.train(0, 6)
    rows = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert [(row["iteration"], row["lr"]) for row in rows] == [
        (1, 0.1),
        (3, 0.1),
        (5, pytest.approx(0.01)),
    ]
    assert "time" not in rows[0] and rows[1]["time"] > 0  # not in the warm-up
    assert "4 iterations" in log.text


def test_the_state_of_an_absent_hook_is_ignored(log: pytest.LogCaptureFixture) -> None:
    trainer = _trainer()
    state = {**trainer.state_dict(), "iteration": 4, "hooks": {"Gone": {"x": 1}}}
    trainer.load_state_dict(state)
    assert trainer.iter == 4 and "Gone" in log.text


@pytest.mark.parametrize(
    "sizes, rates, expected",
    [([1, 1, 1], [1, 0.5, 0.5], 1), ([1, 1], [1, 0.5], 0), ([1, 3, 1], [1, 0.5, 1], 1)],
)
def test_group_of_the_logged_rate(sizes: list[int], rates: list[float], expected: int) -> None:
    groups = [
        {"params": [nn.Parameter(torch.zeros(1)) for _ in range(size)], "lr": rate}
        for size, rate in zip(sizes, rates)
    ]
    optimizer = torch.optim.SGD(groups, lr=1)
    assert hooks.LRScheduler.get_best_param_group_id(optimizer) == expected


def test_schedule_from_multipliers() -> None:
    trainer = _trainer()
    steps = MultiStepParamScheduler([1.0, 0.1], milestones=[2], num_updates=4)
    trainer.register_hooks([hooks.LRScheduler(scheduler=steps)])
    trainer.train(0, 4)
    rates = [value for value, _ in trainer.storage.history("lr").values()]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01])


# The start of a run.


def test_command_line_arguments() -> None:
    parse = default_argument_parser().parse_args
    defaults = vars(parse([]))
    assert defaults.pop("dist_url").startswith("tcp://127.0.0.1:")
    assert defaults == {
        "config_file": "",
        "resume": False,
        "eval_only": False,
        "num_gpus": 1,
        "num_machines": 1,
        "machine_rank": 0,
        "opts": [],
    }
    line = "--config-file a.py --resume --eval-only --num-gpus 3 --num-machines 2 --machine-rank 1"
    args = parse(f"{line} --dist-url auto x=1 +y=2".split())
    assert args.opts == ["x=1", "+y=2"] and args.num_gpus == 3 and args.dist_url == "auto"


def test_setup_seeds_saves_the_config_and_logs(tmp_path: Path) -> None:
    cfg = OmegaConf.create(
        {
            "model": LazyCall(nn.Linear)(in_features=1, out_features=1),
            "train": {"output_dir": str(tmp_path / "out"), "seed": 5, "cudnn_benchmark": False},
        },
        flags={"allow_objects": True},
    )
    draws = []
    for _ in range(2):
        default_setup(cfg, default_argument_parser().parse_args([]))
        draws.append(float(torch.rand(1)))
    assert draws[0] == draws[1]
    again = LazyConfig.load(str(tmp_path / "out" / "config.yaml"))
    assert again.model._target_ == "torch.nn.Linear" and again.train == cfg.train
    for handler in logging.getLogger("detectron2").handlers:
        with suppress(ValueError):  # a closed stream of an earlier test
            handler.flush()  # the real host buffers the file
    assert "torch" in (tmp_path / "out" / "log.txt").read_text()


# Processes.


@embedded_only
def test_launch_refuses_an_automatic_address_for_several_machines() -> None:
    with pytest.raises(ValueError, match="tcp://"):
        launch(print, 1, num_machines=2, dist_url="auto")


def _write_process_facts(folder: str) -> None:
    rank = comm.get_rank()
    on_gpu = torch.cuda.is_available()
    model = Net().cuda() if on_gpu else Net()
    ddp = create_ddp_model(
        model, **({} if on_gpu or mvit_det.host() == "embedded" else {"device_ids": None})
    )
    with EventStorage() as storage:
        Trainer.write_metrics({"x": torch.tensor(3.0 * rank)}, 1.0 + rank, 0)
    comm.synchronize()
    facts = {
        "size": comm.get_world_size(),
        "local": comm.get_local_rank(),
        "main": comm.is_main_process(),
        "gathered": comm.gather(rank),
        "gathered_at_1": comm.gather(rank, dst=1),
        "all_gathered": comm.all_gather({"rank": rank}),
        "seed": comm.shared_random_seed(),
        "ddp": type(ddp).__name__,
        "metrics": {name: value for name, (value, _) in storage.latest().items()},
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(facts))
    del ddp
    os._exit(0)  # the threads of gloo may abort the exit of the interpreter


@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="needs two GPUs, or none")
def test_launch_of_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():  # a fork needs no second import of torch, but no CUDA either
        fork = functools.partial(multiprocessing.start_processes, start_method="fork")
        monkeypatch.setattr(multiprocessing, "spawn", fork)
        monkeypatch.setattr(multiprocessing, "start_processes", fork)
    launch(_write_process_facts, 2, dist_url="auto", args=(str(tmp_path),))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["size"] == second["size"] == 2
    assert first["main"] and not second["main"]
    assert (first["local"], second["local"]) == (0, 1)
    assert (first["gathered"], second["gathered"]) == ([0, 1], [])
    assert (first["gathered_at_1"], second["gathered_at_1"]) == ([], [0, 1])
    assert first["all_gathered"] == second["all_gathered"] == [{"rank": 0}, {"rank": 1}]
    assert first["seed"] == second["seed"]
    assert first["ddp"] == "DistributedDataParallel"
    assert first["metrics"] == {"rank_data_time": 1.0, "data_time": 2.0, "total_loss": 1.5}
