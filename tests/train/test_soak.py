"""A long run under random faults has the weights of an undisturbed one, which leaks nothing.

`SOAK_SEED=7 pytest -m release tests/train/test_soak.py` draws other faults; the seed is printed.
"""

import json
import os
import random
import re
import signal
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import forked
import pytest
import torch
from train_runs import ROOT, command

pytestmark = [pytest.mark.release, pytest.mark.usefixtures("datasets_folder")]
SEED = int(os.environ.get("SOAK_SEED", 0))
ITERATIONS, FAULTS = 500, 30
CONFIG = str(ROOT / "configs" / "quickstart_classification.py")
SMALL = [
    *("model.backbone.embed_dim=8", "model.backbone.last_block_indexes=[0,1]"),
    *("dataloader.train.total_batch_size=16", "dataloader.train.num_workers=2"),
    *("dataloader.test.num_workers=0", f"train.max_iter={ITERATIONS}", "train.eval_period=100"),
    *("train.checkpointer.period=7", "train.checkpointer.max_to_keep=3", "train.log_period=1"),
    *("train.ema.enabled=true", "dataloader.train.dataset.num_train=40"),
    *("dataloader.train.dataset.num_val=5", "dataloader.test.dataset.num_train=40"),
    "dataloader.test.dataset.num_val=5",
]
# fault -> exit code and what the run prints
ENDS = {
    "kill": (-signal.SIGKILL, ""),
    "terminate": (128 + signal.SIGTERM, "Stopped by SIGTERM"),
    "hang up": (128 + signal.SIGHUP, "Stopped by SIGHUP"),
    "stop a worker": (1, r"gave no batch for 15 seconds .*process \d+ is stopped"),
    "kill a worker": (1, "worker of the data loader was ended from outside"),
    "full disk": (1, "[Nn]o space"),
}


class Run:
    """One process that trains into a folder."""

    def __init__(self, folder: Path, output: Path, *flags: str, resume: bool = False) -> None:
        self.folder, self.output = folder, output
        flags = (*["--resume"] * resume, "--config-file", CONFIG, *SMALL, *flags)
        arguments = [*flags, f"train.output_dir={folder}"]
        self.process = forked.start(command, *arguments, output=output, new_session=True)

    def iteration(self) -> int:
        """Return the last one that is logged; -1 before the first."""
        with (
            suppress(OSError, ValueError, IndexError),
            open(self.folder / "metrics.json", "rb") as log,
        ):
            log.seek(max(os.path.getsize(log.name) - 4000, 0))
            return json.loads(log.read().splitlines()[-1])["iteration"]
        return -1

    def wait_until(self, iteration: int = 1 << 30, seconds: float = 1e9) -> bool:
        """Wait for an iteration or a time, or until the process ends; return whether it runs."""
        end = time.monotonic() + seconds
        while self.process.is_alive() and self.iteration() < iteration and time.monotonic() < end:
            time.sleep(0.005)
        return self.process.is_alive()

    def end(self) -> tuple[int | None, str]:
        self.process.join(240)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # if it hangs
        printed = [Path(f"{self.output}.{kind}").read_text() for kind in ("out", "err")]
        return self.process.exitcode, "".join(printed)

    def workers(self) -> list[int]:
        """Ids of the processes of the loader."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with suppress(OSError):
            return [int(pid) for pid in children.read_text().split()]
        return []

    def usage(self) -> tuple[float, int]:
        """MiB of memory in use, and open descriptors."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        kib = int(re.search(r"VmRSS:\s+(\d+)", status)[1])
        return kib / 1024, len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave no space on the disk of a folder."""
    path = folder / "filler"
    with suppress(OSError), open(path, "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    yield
    path.unlink()


@pytest.fixture(scope="module")
def undisturbed(datasets_folder, tmp_path_factory):
    """Return the folder of the undisturbed run, its usage over time, and what it printed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    first = Run(folder / "draws", folder / "first", "train.max_iter=1")  # draws the data
    assert first.end()[0] == 0
    pictures = sorted(datasets_folder.rglob("train/*/*.jpg"))
    for number, path in enumerate(pictures[:: len(pictures) // 4][:4]):
        damaged = [b"", path.read_bytes()[:200], b"<html>", b"\xff\xd8\xff\xe0" + bytes(90)]
        path.write_bytes(damaged[number])
    run, usage = Run(folder / "run", folder / "printed"), []
    while run.process.is_alive():
        with suppress(OSError, TypeError):  # it ends
            usage.append((run.iteration(), *run.usage()))
        time.sleep(0.05)
    code, printed = run.end()
    assert code == 0, printed[-3000:]
    return folder / "run", usage, printed


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model_final.pth", weights_only=True)["model"]


def skipped(printed: str) -> set[str]:
    return set(re.findall(r"Image (\S+) is skipped", printed))


def test_memory_and_descriptors_are_flat(undisturbed, record_property):
    _, usage, _ = undisturbed
    second, last = (
        [row[1:] for row in usage if at <= row[0] < at + ITERATIONS // 4]
        for at in (ITERATIONS // 4, 3 * ITERATIONS // 4)
    )
    (memory, files), (memory_end, files_end) = (
        [statistics.median(column) for column in zip(*rows)] for rows in (second, last)
    )
    record_property(
        "figures",
        f"{ITERATIONS} iterations, second and last quarter: {memory:.0f} and {memory_end:.0f} MiB, "
        f"{files:g} and {files_end:g} descriptors",
    )
    assert memory_end < memory + 20
    assert files_end <= files + 2


def test_a_run_under_faults_has_the_weights_of_the_undisturbed_one(
    undisturbed, tmp_path, record_property
):
    rng, begin = random.Random(SEED), time.monotonic()
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(disk)]
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
    kinds = [kind for kind in ENDS if mounted or kind != "full disk"]
    counts: Counter[str] = Counter()
    try:
        printed = _disturb(rng, kinds, counts, disk, tmp_path / "printed")
        text = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
        minutes = (time.monotonic() - begin) / 60
        disks = "" if mounted else "; no disk can be mounted here"
        record_property("figures", f"{text}; {minutes:.1f} minutes, seed {SEED}{disks}")
        assert counts.total() >= FAULTS // 2 and counts.keys() == set(kinds), text
        expected, actual = weights(undisturbed[0]), weights(disk / "run")
        assert actual.keys() == expected.keys()
        assert all(torch.equal(actual[name], expected[name]) for name in expected)
        assert skipped(printed) == skipped(undisturbed[2]) and len(skipped(printed)) >= 2
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(disk)], check=True)


def _disturb(
    rng: random.Random, kinds: list[str], counts: Counter[str], disk: Path, output: Path
) -> str:
    """Train to the end, through one fault after the other; return what was printed."""
    printed, lives = "", 0
    while True:
        kind = rng.choice(kinds) if counts.total() < FAULTS else "none"
        flags = ["train.timeout=15"] if kind == "stop a worker" else []
        run = Run(disk / "run", output, *flags, resume=lives > 0)
        lives += 1
        reached = run.iteration()
        # some end before the next checkpoint
        target = reached + rng.randint(1, 2 * ITERATIONS // FAULTS)
        if kind == "none":
            alive = False
        elif kind == "kill" and rng.random() < 0.3:
            alive = run.wait_until(seconds=rng.uniform(0, 3))  # while it starts, too
        else:
            alive = run.wait_until(iteration=target)
        time.sleep(rng.uniform(0, 0.1))
        if not alive:
            code, text = run.end()
            assert code == 0, text[-3000:]
            return printed + text
        code, text = _strike(run, kind, rng, disk)
        printed += text
        if code == 0:  # it ended before
            continue
        counts[kind] += 1
        expected, sentence = ENDS[kind]
        assert code == expected and re.search(sentence, text), (kind, code, text[-3000:])
        # Python prints one of its own when the process that a worker passes a batch to is killed
        ours = text.count("Traceback") - text.count("resource_sharer.py")
        assert not ours or "--- Logging error ---" in text, (kind, text[-3000:])


def _strike(run: Run, kind: str, rng: random.Random, disk: Path) -> tuple[int | None, str]:
    """Let a fault happen to a run; return its exit code and what it printed."""
    if kind == "full disk":
        with filled(disk):
            return run.end()
    number = {"terminate": signal.SIGTERM, "hang up": signal.SIGHUP}.get(kind, signal.SIGKILL)
    pid = run.process.pid
    if kind.endswith("worker"):
        pid = rng.choice(run.workers() or [pid])
        number = signal.SIGSTOP if kind == "stop a worker" else signal.SIGKILL
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return run.end()
