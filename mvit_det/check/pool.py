"""Run checks of files in several processes, in order."""

import logging
import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice

from mvit_det.data.checks.findings import FileCheck, FileReport, Finding
from mvit_det.data.image_files import current_pictures, use_pictures

_CHUNK = 16  # files per task of a process
_AHEAD = 4  # tasks per process that wait
_FEW = 500  # pictures: fewer are checked sooner than processes start
_START = None  # how processes start: the default of the system, as for the loaders

Reports = Iterator[tuple[FileCheck, FileReport]]


@dataclass
class CheckPool:
    """Processes that run checks; use it as a context manager.

    One that is ended, by a decoder or for lack of memory, costs only the file that it read, which
    is then a finding.

    Args:
        processes: number of processes; 0: check in this one, as is done for a few files.
    """

    processes: int
    _pool: ProcessPoolExecutor | None = field(default=None, init=False)

    def __enter__(self) -> "CheckPool":
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def run(self, checks: Sequence[FileCheck]) -> Reports:
        """Yield all checks with their reports, in order."""
        cost = sum(getattr(check, "cost", 1) for check in checks)
        if self.processes == 0 or (self._pool is None and cost < _FEW):
            yield from ((check, _run(check)) for check in checks)
            return
        chunks = (list(checks[at : at + _CHUNK]) for at in range(0, len(checks), _CHUNK))
        waiting = deque(
            (chunk, self._submit(chunk)) for chunk in islice(chunks, _AHEAD * self.processes)
        )
        while waiting:
            first, future = waiting.popleft()
            try:
                reports = future.result()
            except BrokenProcessPool:
                self._close()
                reports = _run_apart(first)
                waiting = deque((chunk, self._submit(chunk)) for chunk, _ in waiting)
            waiting.extend((chunk, self._submit(chunk)) for chunk in islice(chunks, 1))
            yield from zip(first, reports)

    def _submit(self, checks: Sequence[FileCheck]) -> Future:
        self._pool = self._pool or _pool(self.processes)
        return _submit(self._pool, checks)


def _pool(processes: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context(_START)
    return ProcessPoolExecutor(processes, context, use_pictures, (current_pictures(),))


def _submit(pool: ProcessPoolExecutor, checks: Sequence[FileCheck]) -> Future:
    try:
        return pool.submit(_run_all, checks)
    except BrokenProcessPool as error:
        failed: Future = Future()
        failed.set_exception(error)
        return failed


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
    """Run checks one by one in another process, and again from the one after that which ends it."""
    reports: list[FileReport] = []
    while len(reports) < len(checks):
        with _pool(1) as pool:
            try:
                for future in [_submit(pool, [check]) for check in checks[len(reports) :]]:
                    reports += future.result()
            except BrokenProcessPool:
                path = checks[len(reports)].path
                message = "the process that reads it is ended, as training would be: remove it"
                fault = Finding("error", "unreadable file", message, path)
                reports.append(FileReport([fault]))
    return reports
