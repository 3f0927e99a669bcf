"""Notice processes that have stopped: workers of loaders, and the processes of one run."""

import mmap
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType

import torch.distributed as dist
from detectron2.utils import comm
from omegaconf import DictConfig

from mvit_det.errors import UserError, check_positive

SECONDS = 600.0  # default of the key train.timeout
ENDS_FROZEN = signal.SIGUSR1  # sent to a stopped process whose fault has been reported

# of this process: number of parts of iterations that are done; 1 while the next one is watched
_progress = memoryview(bytearray(16)).cast("q")


def time_limit(cfg: DictConfig) -> float:
    """Return the seconds after which a process that does not answer counts as frozen.

    Raises:
        UserError: ``train.timeout`` is not a number above 0.
    """
    seconds = cfg.train.get("timeout", SECONDS)
    check_positive("train", timeout=seconds)
    return float(seconds)


def is_stopped(pid: int | None) -> bool:
    """Return whether a process was stopped by a signal; False on systems without /proc."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state == "T"


@contextmanager
def batch_deadline(seconds: float) -> Iterator[None]:
    """Raise an error if the loader's workers take longer than this in the block; 0: no limit.

    torch's own time limit does not cover the transfer of tensors, which a stopped worker holds up.

    Raises:
        UserError: the time is over; workers that were stopped are killed, since they cannot end.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise _Late

    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _Late:
        pids = ", ".join(map(str, _kill_stopped_workers()))
        reason = f"process {pids} is stopped" if pids else "its disk or a file holds it up"
        raise UserError(
            f"A worker of the data loader gave no batch for {seconds:g} seconds (train.timeout), "
            f"since {reason}: continue from the last checkpoint with --resume."
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


class _Late(BaseException):
    """The time is over; not an `Exception`, which torch's loader would examine."""


def _kill_stopped_workers() -> list[int | None]:
    """Kill the child processes that cannot end, since they are stopped; return their ids."""
    stopped = [each for each in multiprocessing.active_children() if is_stopped(each.pid)]
    # torch would report the end of each as another fault, at any later statement
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in stopped:
        worker.kill()
        worker.join()
    signal.signal(signal.SIGCHLD, handler)
    return [worker.pid for worker in stopped]


def advance(watched: bool) -> None:
    """Count a part of an iteration as done, in memory that the processes of this machine read.

    All processes call it equally often.

    Args:
        watched: whether this process should do the next part within ``train.timeout``.
    """
    _progress[0] += 1
    _progress[1] = watched


@contextmanager
def watched_processes(seconds: float) -> Iterator[None]:
    """End the run if one of its processes is stopped, or does not answer, for so long.

    A process of this machine that is stopped for half of the time is named, and so is one that has
    not advanced for 90 % of it while others wait in the same iteration. One that does not answer
    for another reason is noticed by those that wait for it.
    """
    global _progress
    if comm.get_world_size() == 1:
        yield
        return
    shared = tempfile.TemporaryFile()
    shared.truncate(_progress.nbytes)
    _progress = memoryview(mmap.mmap(shared.fileno(), _progress.nbytes)).cast("q")
    if hasattr(dist, "set_timeout"):
        dist.set_timeout(timedelta(seconds=seconds))
    place = (
        socket.gethostname(),
        os.readlink("/proc/self/ns/pid") if os.path.exists("/proc") else "",
    )
    everyone = comm.all_gather((place, os.getpid(), shared.fileno()))
    here = {rank: each[1:] for rank, each in enumerate(everyone) if each[0] == place}
    done = threading.Event()
    arguments = here, comm.get_rank(), comm.get_world_size(), seconds, done
    threading.Thread(target=_watch, args=arguments, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _watch(
    here: dict[int, tuple[int, int]], me: int, world: int, seconds: float, done: threading.Event
) -> None:
    """Watch the processes of this machine; the first that runs reports.

    ``here`` has the id of each by rank, and the descriptor of its `_progress`.
    """
    pause = min(5.0, seconds / 20)
    since: dict[int, float] = {}
    last = moved = time.monotonic()
    before: list = []
    while not done.wait(pause):
        now = time.monotonic()
        progress = _read_progress(here)
        if now - last > 3 * pause:  # this process was stopped itself
            since.clear()
            before.clear()
        if progress != before:
            before, moved = progress, now
        last = now
        stopped = (rank for rank, (pid, _) in here.items() if is_stopped(pid))
        since = {rank: since.get(rank, now) for rank in stopped}
        frozen = [rank for rank, start in since.items() if now - start > seconds / 2]
        what = f"been stopped by a signal for {seconds / 2:g} seconds, half of train.timeout"
        if not since and now - moved > 0.9 * seconds:
            frozen = _latest(here, progress)
            what = f"not advanced for {0.9 * seconds:g} seconds, 90 % of train.timeout"
        if frozen and me == min(here.keys() - {*since, *frozen}):
            _end_run(here, frozen, world, what)


def _read_progress(here: dict[int, tuple[int, int]]) -> list[tuple[int, ...]]:
    """Return `_progress` of each process; [] if one cannot be read, as on systems without /proc."""
    try:
        files = (Path(f"/proc/{pid}/fd/{number}") for pid, number in here.values())
        return [tuple(memoryview(file.read_bytes()).cast("q")) for file in files]
    except OSError:
        return []


def _latest(here: dict[int, tuple[int, int]], progress: list[tuple[int, ...]]) -> list[int]:
    """Return the ranks that others wait for; none if a process does what has no time limit."""
    counts = [count for count, watched in progress if watched]
    if len(counts) < len(here) or min(counts) == max(counts):
        return []
    return [rank for rank, count in zip(here, counts) if count == min(counts)]


def _end_run(here: dict[int, tuple[int, int]], frozen: list[int], world: int, what: str) -> None:
    for rank in frozen:
        pid = here[rank][0]
        print(
            f"\nerror: Process {rank} of {world} (pid {pid} on {socket.gethostname()}) has {what}, "
            "so the run is ended: continue from the last checkpoint with --resume.",
            file=sys.stderr,
            flush=True,
        )
        with suppress(ProcessLookupError):
            os.kill(pid, ENDS_FROZEN)
            os.kill(pid, signal.SIGCONT)
    os._exit(1)
