"""Train the toy in real processes that record every step, and that tests kill, stop or interrupt.

A record has the image ids and the losses of each iteration, exactly; so it shows whether a resumed
run did what an uninterrupted one does.
"""

import io
import json
import multiprocessing
import os
import random
import signal
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import forked
import pytest
import torch
import toy
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage

from mvit_det.engine import hooks, run
from mvit_det.engine.checkpointer import checkpoint_fault

BATCH = 2  # images of each process
PAUSE = 0.02  # seconds of each step, during which a signal can arrive


def append(path: Path, value) -> None:
    with open(path, "a") as file:
        file.write(json.dumps(value) + "\n")


def read(path: Path) -> list:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@dataclass
class Noisy:
    """The mapper of the toy, which records the process that it runs in."""

    folder: str

    def __call__(self, item: dict) -> dict:
        append(Path(self.folder, "pids.loading"), os.getpid())
        return toy.noisy(item)


def body(args: Namespace) -> None:
    """Train in one process of a run."""
    rank, folder = comm.get_rank(), Path(args.folder)
    append(folder / f"pids.{rank}", os.getpid())
    hooks.draw_curves = lambda *_: []
    forward, trained = toy.Toy.forward, {}

    def recorded(self, batch):
        result = forward(self, batch)
        trained["batches"] = float(self.layers[1].num_batches_tracked)
        if self.training:
            losses = {name: value.item().hex() for name, value in result.items()}
            ids = [item["index"] for item in batch]
            append(folder / f"steps.{rank}", [get_event_storage().iter, ids, losses])
            time.sleep(args.pause)
        return result

    toy.Toy.forward = recorded
    # of the weights alone, and each evaluation is better than the last
    toy.Score.evaluate = lambda self: {"toy": {"score": trained["batches"]}}
    if args.die:
        die(*args.die)
    cfg = toy.config(
        folder / "run",
        max_iter=args.max_iter,
        eval_period=2,
        seed=1 + rank,
        timeout=args.timeout,
        checkpointer=dict(period=3, max_to_keep=100),
        ddp=dict(broadcast_buffers=False),
    )
    cfg.dataloader.train.total_batch_size = BATCH * comm.get_world_size()
    cfg.dataloader.train.num_workers = args.workers
    cfg.dataloader.train.mapper = Noisy(str(folder))
    toy.train(cfg, resume=args.resume)


def die(name: str, moment: str, count: int) -> None:
    """End this process by SIGKILL when it writes the file ``name`` the ``count``-th time.

    ``moment``: after half of the bytes, or before or after the file gets its final name.
    """
    save, replace, left = torch.save, os.replace, {"writes": count}

    def due(path) -> bool:
        left["writes"] -= Path(path).name.startswith(name)
        return Path(path).name.startswith(name) and left["writes"] == 0

    def half(data, file):
        if moment == "half" and due(file.name):
            content = io.BytesIO()
            save(data, content)
            file.write(content.getvalue()[: content.tell() // 2])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(data, file)

    def renamed(source, target):
        ends = moment != "half" and due(target)
        if ends and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if ends:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save, os.replace = half, renamed


def launch(options: dict) -> None:
    machine = dict(num_machines=1, machine_rank=0, dist_url="auto")
    run(body, Namespace(num_gpus=options["processes"], **options, **machine))


@dataclass
class Run:
    """A training in a folder, started as often as it takes."""

    folder: Path
    processes: int = 1
    workers: int = 0
    max_iter: int = 12
    timeout: float = 60.0

    def options(self, **changes) -> dict:
        known = {name: getattr(self, name) for name in ("processes", "workers", "max_iter")}
        known |= dict(folder=str(self.folder), timeout=self.timeout, pause=0.0, die=())
        return known | dict(resume=(self.folder / "run").exists()) | changes

    def start(self, **changes) -> multiprocessing.Process:
        options = self.options(pause=PAUSE) | changes
        printed = self.folder / "printed"
        return forked.start(launch, options, output=printed, new_session=True)

    def finish(self) -> "Run":
        """Run to the end."""
        done = forked.run(launch, self.options(), output=self.folder / "finished")
        assert done.returncode == 0, done.stdout + done.stderr
        return self

    def wait_for(self, count: int, process: multiprocessing.Process) -> bool:
        """Wait until the first process has done so many steps; whether it is still running."""
        before = len(read(self.folder / "steps.0"))
        while process.is_alive() and len(read(self.folder / "steps.0")) < before + count:
            time.sleep(0.001)
        time.sleep(random.random() * PAUSE)
        return process.is_alive()

    def pid(self, victim: str) -> int:
        """The newest process of a rank, or a worker of a loader ("loading")."""
        return read(self.folder / f"pids.{victim}")[-1]

    def pids(self) -> set[int]:
        return {pid for path in self.folder.glob("pids.*") for pid in read(path)}

    def errors(self) -> str:
        return Path(f"{self.folder}/printed.err").read_text()

    def steps(self, rank: int) -> dict[int, list]:
        """iteration -> image ids and losses; a step that was repeated must have repeated both."""
        found: dict[int, list] = {}
        for iteration, *step in read(self.folder / f"steps.{rank}"):
            assert found.setdefault(iteration, step) == step, f"iteration {iteration} differs"
        return found

    def assert_intact(self) -> None:
        """No file under a final name is damaged."""
        for path in (self.folder / "run").glob("*.pth"):
            assert checkpoint_fault(path) is None, path

    def assert_equal(self, whole: "Run") -> None:
        """Every step, the log and all weights are those of an uninterrupted run."""
        for rank in range(self.processes):
            assert self.steps(rank) == whole.steps(rank)
            assert len(self.steps(rank)) == self.max_iter
        mine, other = self.folder / "run", whole.folder / "run"
        ours, theirs = toy.logged(mine), toy.logged(other)
        for iteration, row in ours.items():
            # one that was saved may lack its losses: killed after its checkpoint
            assert row.items() <= theirs.get(iteration, row if len(row) == 1 else {}).items()
        evaluated, expected = (
            {i for i in rows if "toy/score" in rows[i]} for rows in (ours, theirs)
        )
        assert evaluated == expected
        last = f"model_{self.max_iter - 1:07d}.pth"  # is equal, and there first
        assert (mine / "last_checkpoint").read_text() in (last, "model_final.pth")
        for name in ("model_final", "model_best"):
            assert toy.equal(toy.weights(mine, name), toy.weights(other, name)), name
        self.assert_intact()


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory):
    """Uninterrupted runs by their number of processes; each is made once."""
    made: dict[int, Run] = {}

    def whole(processes: int) -> Run:
        if processes not in made:
            folder = tmp_path_factory.mktemp(f"whole{processes}")
            made[processes] = Run(folder, processes).finish()
        return made[processes]

    return whole


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
