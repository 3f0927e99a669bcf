"""Notice processes that have stopped: workers of loaders, and the processes of one run."""

import _thread
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType

import torch.distributed as dist
from detectron2.utils import comm
from omegaconf import DictConfig

from mvit_det.errors import UserError, check_positive

SECONDS = 600.0  # default of the key train.timeout
LOST_WORKER = (
    "A worker of the data loader was ended from outside (by the system if memory ran out): "
    "continue from the last checkpoint with --resume, with a lower dataloader.train.num_workers "
    "if memory is short."
)
ENDS_FROZEN = "SIGUSR1"  # sent to a stopped process whose fault has been reported


def time_limit(cfg: DictConfig) -> float:
    """Return the seconds after which a process that does not answer counts as frozen.

    Raises:
        UserError: ``train.timeout`` is not a number above 0.
    """
    seconds = cfg.train.get("timeout", SECONDS)
    check_positive("train", timeout=seconds)
    return float(seconds)


def is_stopped(pid: int | None) -> bool:
    """Return whether a process was stopped by a signal; only Linux tells, in /proc."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state == b"T"


@contextmanager
def batch_deadline(seconds: float) -> Iterator[None]:
    """Raise an error if the loader's workers take longer than this in the block; 0: no limit.

    torch's own time limit does not cover the transfer of tensors, which a stopped worker holds up.

    Raises:
        UserError: the time is over; workers that were stopped are killed, since they cannot end. Or
            a worker has ended while it passed a batch on.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise _Late

    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        with _alarm(seconds, end):
            yield
    except _Late:
        pids = ", ".join(map(str, _kill_stopped_workers()))
        reason = f"process {pids} is stopped" if pids else "its disk or a file holds it up"
        raise UserError(
            f"A worker of the data loader gave no batch for {seconds:g} seconds (train.timeout), "
            f"since {reason}: continue from the last checkpoint with --resume."
        ) from None
    except (ConnectionError, EOFError) as error:
        if "in DataLoader worker" in str(error):  # which its mapper has raised
            raise
        raise UserError(LOST_WORKER) from error


@contextmanager
def _alarm(seconds: float, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call a signal handler if the block takes longer than this."""
    if sys.platform == "win32":
        # It has no timer signal. Handlers run when torch's loader wakes up, every 5 seconds.
        number = signal.SIGABRT
        timer = threading.Timer(seconds, _thread.interrupt_main, [number])
        timer.daemon = True
        start, stop = timer.start, timer.cancel
    else:
        number = signal.SIGALRM
        start = partial(signal.setitimer, signal.ITIMER_REAL, seconds)
        stop = partial(signal.setitimer, signal.ITIMER_REAL, 0)
    previous = signal.signal(number, handler)
    start()
    try:
        yield
    finally:
        stop()
        signal.signal(number, previous)


class _Late(BaseException):
    """The time is over; not an `Exception`, which torch's loader would examine."""


def _kill_stopped_workers() -> list[int | None]:
    """Kill the child processes that cannot end, since they are stopped; return their ids."""
    stopped = [each for each in multiprocessing.active_children() if is_stopped(each.pid)]
    if sys.platform == "win32" or not stopped:
        return []
    # torch would report the end of each as another fault, at any later statement
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in stopped:
        worker.kill()
        worker.join()
    signal.signal(signal.SIGCHLD, handler)
    return [worker.pid for worker in stopped]


@contextmanager
def watched_processes(seconds: float) -> Iterator[None]:
    """End the run if one of its processes is stopped, or does not answer, for so long.

    A process of this machine that is stopped for half of the time is named. One that does not
    answer for another reason is noticed by those that wait for it.
    """
    if comm.get_world_size() == 1:
        yield
        return
    if hasattr(dist, "set_timeout"):
        dist.set_timeout(timedelta(seconds=seconds))
    place = (
        socket.gethostname(),
        os.readlink("/proc/self/ns/pid") if os.path.exists("/proc") else "",
    )
    everyone = enumerate(comm.all_gather((place, os.getpid())))
    pids = {rank: pid for rank, (where, pid) in everyone if where == place}
    done = threading.Event()
    arguments = pids, comm.get_rank(), comm.get_world_size(), seconds / 2, done
    threading.Thread(target=_watch, args=arguments, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _watch(pids: dict[int, int], me: int, world: int, limit: float, done: threading.Event) -> None:
    """Watch the processes ``pids`` of this machine, by rank; the first that runs reports."""
    pause = min(5.0, limit / 10)
    since: dict[int, float] = {}
    last = time.monotonic()
    while not done.wait(pause):
        now = time.monotonic()
        if now - last > 3 * pause:  # this process was stopped itself
            since.clear()
        last = now
        since = {rank: since.get(rank, now) for rank, pid in pids.items() if is_stopped(pid)}
        frozen = [rank for rank, start in since.items() if now - start > limit]
        if frozen and me == min(pids.keys() - since.keys()):
            for rank in frozen:
                print(
                    f"\nerror: Process {rank} of {world} (pid {pids[rank]} on "
                    f"{socket.gethostname()}) has been stopped by a signal for {limit:g} seconds, "
                    "half of train.timeout, so the run is ended: continue from the last checkpoint "
                    "with --resume.",
                    file=sys.stderr,
                    flush=True,
                )
                if sys.platform != "win32":
                    with suppress(ProcessLookupError):
                        os.kill(pids[rank], signal.Signals[ENDS_FROZEN])
                        os.kill(pids[rank], signal.SIGCONT)
            os._exit(1)
