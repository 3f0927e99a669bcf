"""Run both sides of a row in turn, each in a process of its own."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from results import CONDITIONS, machine
from rows import Options, Row
from tqdm import tqdm

SIDES = ("ours", "peer")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
COMPARE = Path(__file__).resolve().parent / "compare.py"
KEEP = "keep"  # asks for the outcome of a run
# Importing mvit_det makes torch take large pages; a peer is measured as its users run it.
PEER = {"THP_MEM_ALLOC_ENABLE": "0"}
ENVIRONMENTS = {"peer": PEER, "prepare": {"MVIT_DET_HOST": "embedded"}}  # which export needs


# --------------------------------------------------------------------------- the measured processes


def work(row: Row, side: str, options: Options) -> None:
    """Build one side of a row, run it once, then once for each line on stdin; print JSON lines."""
    import torch

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    torch.manual_seed(0)
    if side == "prepare":
        assert row.prepare is not None
        row.prepare(options)
        return
    torch.set_num_threads(options.threads)
    synchronize = torch.cuda.synchronize if options.device == "cuda" else lambda: None
    run: Callable[[], Any] = row.build(side, options)
    run()
    synchronize()
    name = torch.cuda.get_device_name() if options.device == "cuda" else None
    print(json.dumps(name), file=answers, flush=True)
    for line in sys.stdin:
        torch.manual_seed(0)
        begin = time.perf_counter()
        outcome = run()
        synchronize()
        measured = {"seconds": time.perf_counter() - begin, "peak": peak_memory(options.device)}
        if isinstance(outcome, dict) and outcome.keys() == measured.keys():
            measured, outcome = outcome, None
        elif line.strip() == KEEP and outcome is not None:
            np.save(Path(options.folder) / f"{side}.npy", flatten(outcome))
        print(json.dumps(measured), file=answers, flush=True)
        del outcome  # the next run is alone in memory


def timed(run: Callable[[], Any], device: str) -> float:
    """Return the seconds of a run, with the work that it queues."""
    import torch

    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - start


def peak_memory(device: str) -> float:
    """Return the peak of this process in bytes: of memory on the CPU, of tensors on a GPU."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":  # where Python has no such count
        return float("nan")
    import resource

    unit = 1 if sys.platform == "darwin" else 2**10  # bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def flatten(outcome: Any) -> np.ndarray:
    """Return all numbers of an outcome in order (N,), float64 or else float32."""
    if isinstance(outcome, dict):
        outcome = list(outcome.values())
    if isinstance(outcome, (list, tuple)):
        return np.concatenate([np.zeros(0, np.float32), *map(flatten, outcome)])
    if hasattr(outcome, "detach"):
        outcome = outcome.detach().float().cpu().numpy()
    array = np.asarray(outcome)
    return array.ravel() if array.dtype == np.float64 else array.ravel().astype(np.float32)


class Side:
    """A process that runs one side of a row; to be used in a ``with`` block."""

    def __init__(self, row: Row, side: str, options: Options):
        self.title, self.errors = f"{row.name}, {side}", tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, str(COMPARE), "--work", row.name, side, json.dumps(asdict(options))],
            env={
                **os.environ,
                **dict.fromkeys(THREADS, str(options.threads)),
                **ENVIRONMENTS.get(side, {}),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def read(self) -> Any:
        """Return what the process prints next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.fail()
        return json.loads(line)

    def run(self, request: str = "") -> dict[str, float]:
        """Let the process run once; return "seconds", and "peak" in bytes."""
        assert self.process.stdin is not None
        try:
            print(request, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            self.fail()
        return self.read()

    def fail(self) -> None:
        """Exit with what the process has said."""
        status = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().decode("utf-8", "replace").strip()
        sys.exit(f"error: {self.title}: the measured process ended with status {status}:\n{said}")

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        if error is not None:
            self.process.kill()
        self.process.communicate()  # which closes its stdin, so that it ends
        self.errors.close()


# ------------------------------------------------------------------------------------ the measuring


def measure(row: Row, options: Options, rounds: int) -> dict[str, Any]:
    """Run both sides of a row in turn; return a result, see `results`."""
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    loads = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        options = replace(options, folder=folder)
        if row.prepare is not None:
            with Side(row, "prepare", options) as process:
                if process.process.wait() != 0:
                    process.fail()
        sides = {side: stack.enter_context(Side(row, side, options)) for side in SIDES}
        devices = [process.read() for process in sides.values()]
        for number in tqdm(range(rounds), f"{row.name}, {options.precision}", leave=False):
            request = KEEP if number == rounds - 1 else ""
            for side, process in sides.items():
                loads.append(os.getloadavg()[0])
                runs[side].append(process.run(request))
        difference = largest_difference(Path(folder))
    seconds = {side: [run["seconds"] for run in runs[side]] for side in SIDES}
    ratios = [peer / ours for ours, peer in zip(*seconds.values())]
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    return {
        "row": row.name,
        "what": row.what,
        "peer": row.peer,
        **{name: value for name, value in asdict(options).items() if name in CONDITIONS},
        "seconds": medians,
        "ratio": medians["peer"] / medians["ours"],
        "spread": [min(ratios), max(ratios)],
        "peak": {side: max(run["peak"] for run in runs[side]) for side in SIDES},
        "difference": difference,
        "rounds": rounds,
        "load": max(loads),
        **machine(devices[0]),
    }


def largest_difference(folder: Path) -> float | None:
    """Compare the outcomes of both sides; None if they have none, infinity if they do not match.

    Differences are absolute, or relative to the largest number of the peer if that is above 1.
    """
    ours, theirs = (folder / f"{side}.npy" for side in SIDES)
    if not (ours.exists() and theirs.exists()):
        return None
    a, b = np.load(ours), np.load(theirs)
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    scale = max(1.0, float(np.nanmax(np.abs(b), initial=0)))
    return float(np.nanmax(np.abs(a - b), initial=0)) / scale
