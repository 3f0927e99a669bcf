"""Run checks of files in several processes, in order."""

import logging
import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count

from mvit_det.data.checks.findings import FileCheck, FileReport, Finding
from mvit_det.data.image_files import PictureFormat, current_pictures, use_pictures

_CHUNK = 16  # files per task of a process
_AHEAD = 4  # tasks per process that wait
_FEW = 200  # files: fewer are checked sooner than a process starts


def run_checks(
    checks: Sequence[FileCheck], processes: int
) -> Iterator[tuple[FileCheck, FileReport]]:
    """Yield all checks with their reports, in order.

    Processes are spawned, as on every system. One that is ended, by a decoder or for lack of
    memory, costs the file that it read alone, which is then a finding.

    Args:
        checks: of files.
        processes: number of processes; 0: check in this one, as is done for a few files.
    """
    if processes == 0 or len(checks) < _FEW:
        yield from ((check, _run(check)) for check in checks)
        return
    chunks = (list(checks[at : at + _CHUNK]) for at in range(0, len(checks), _CHUNK))
    pool = _pool(processes)
    waiting: deque[tuple[list[FileCheck], Future]] = deque()
    try:
        for step in count():
            chunk = next(chunks, None)
            if chunk is None and not waiting:
                return
            if chunk is not None:
                waiting.append((chunk, _submit(pool, chunk)))
                if step < _AHEAD * processes:
                    continue
            first, future = waiting.popleft()
            try:
                reports = future.result()
            except BrokenProcessPool:
                pool.shutdown(cancel_futures=True)
                reports = _run_apart(first)
                pool = _pool(processes)
                waiting = deque((chunk, _submit(pool, chunk)) for chunk, _ in waiting)
            yield from zip(first, reports)
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _set_up, (current_pictures(),)
    )


def _submit(pool: ProcessPoolExecutor, checks: Sequence[FileCheck]) -> Future:
    try:
        return pool.submit(_run_all, checks)
    except BrokenProcessPool as error:
        failed: Future = Future()
        failed.set_exception(error)
        return failed


def _set_up(pictures: PictureFormat) -> None:
    use_pictures(pictures)


def _run_all(checks: Sequence[FileCheck]) -> list[FileReport]:
    return [_run(check) for check in checks]


def _run(check: FileCheck) -> FileReport:
    log = logging.getLogger("mvit_det")
    level = log.level
    log.setLevel(logging.ERROR)  # warnings are findings
    try:
        return check.run()
    except Exception as error:  # one file must not end the check of all others
        detail = " ".join(str(error).split())
        message = f"it cannot be checked ({type(error).__name__}: {detail}): repair or remove it"
        return FileReport([Finding("error", "unreadable file", message, check.path)])
    finally:
        log.setLevel(level)


def _run_apart(checks: Sequence[FileCheck]) -> list[FileReport]:
    """Run checks in another process; find the one that ends it by halving."""
    with _pool(1) as pool:
        try:
            return _submit(pool, checks).result()
        except BrokenProcessPool:
            pass
    half = len(checks) // 2
    if half:
        return [*_run_apart(checks[:half]), *_run_apart(checks[half:])]
    message = "the process that reads it is ended, as training would be: remove it"
    return [FileReport([Finding("error", "unreadable file", message, checks[0].path)])]
