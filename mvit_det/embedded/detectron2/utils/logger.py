"""Log lines: coloured on a terminal, one file per process, and calls that log only now and then."""

import logging
import os
import sys
import time
from collections import Counter
from functools import cache
from types import FrameType

from termcolor import colored

from detectron2.utils.file_io import PathManager

__all__ = ["setup_logger", "log_first_n", "log_every_n", "log_every_n_seconds"]

_DATE = "%m/%d %H:%M:%S"
_ALARM = {
    logging.WARNING: {"color": "red", "attrs": ["blink"]},
    logging.ERROR: {"color": "red", "attrs": ["blink", "underline"]},
    logging.CRITICAL: {"color": "red", "attrs": ["blink", "underline"]},
}


class _Formatter(logging.Formatter):
    """Shortens the root of the logger's name; marks warnings, and colours, on a terminal."""

    def __init__(self, root: str, short: str, style: str):
        super().__init__(datefmt=_DATE)
        self.root, self.short, self.style = root + ".", short + ".", style

    def formatMessage(self, record: logging.LogRecord) -> str:
        name = record.name
        if name.startswith(self.root):
            name = self.short + name[len(self.root) :]
        time, level = self.formatTime(record, self.datefmt), record.levelname
        if self.style == "file":
            return f"[{time}] {name} {level}: {record.message}"
        head = f"[{time} {name}]:"
        alarm = _ALARM.get(record.levelno)
        if self.style == "color":
            head = colored(head, "green")
            level = colored(level, **alarm) if alarm else level
        return f"{level} {head} {record.message}" if alarm else f"{head} {record.message}"


def _log_file(output: str, rank: int) -> str:
    """The file of one process: ``output`` is that file, or the folder for a ``log.txt``."""
    path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    return f"{path}.rank{rank}" if rank else path


@cache  # a second call with the same arguments must not double every line
def setup_logger(
    output: str | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "detectron2",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Let the logger ``name`` write to standard output (rank 0 only) and to a file.

    Args:
        output: a .txt or .log file, or a folder that gets a log.txt; processes other than rank 0
            add ``.rank<N>`` to its name. Without it nothing is written to disk.
        color: colour the lines, where standard output is a terminal.
        abbrev_name: stands for ``name`` in the lines of its children ("d2" for detectron2).
        enable_propagation: pass lines on to the root logger too.
        configure_stdout: write to standard output.
    """
    short = abbrev_name if abbrev_name is not None else {"detectron2": "d2"}.get(name, name)
    logger = logging.getLogger(name)
    handlers: list[tuple[logging.Handler, str]] = []
    on_screen = any(getattr(h, "stream", None) is sys.stdout for h in logger.handlers)
    if configure_stdout and not distributed_rank and not on_screen:
        handlers.append((logging.StreamHandler(stream=sys.stdout), "color" if color else "plain"))
    if output is not None:
        path = _log_file(output, distributed_rank)
        PathManager.mkdirs(os.path.dirname(path) or ".")
        handlers.append((logging.StreamHandler(PathManager.open(path, "a", buffering=1)), "file"))
    logger.setLevel(logging.DEBUG)
    logger.propagate = enable_propagation
    for handler, style in handlers:
        handler.setLevel(logging.DEBUG)
        handler.setFormatter(_Formatter(name, short, style))
        logger.addHandler(handler)
    return logger


_seen: Counter = Counter()
_last_time: dict[tuple[str, int], float] = {}


def _caller() -> tuple[str, tuple[str, int]]:
    """The name of the module that called a function of this file, and the place of the call."""
    frame: FrameType = sys._getframe(1)
    while frame.f_code.co_filename == __file__:
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "__main__")
    place = frame.f_code.co_filename, frame.f_lineno
    return ("detectron2" if module == "__main__" else module), place


def log_first_n(
    lvl: int, msg: str, n: int = 1, *, name: str | None = None, key: str | tuple = "caller"
) -> None:
    """Log only the first ``n`` times.

    Args:
        name: the logger; the calling module's by default.
        key: what counts as the same: "caller" (the line of code), "message", or both.
    """
    module, place = _caller()
    parts = {"caller": place, "message": msg}
    counted = tuple(parts[k] for k in ((key,) if isinstance(key, str) else key))
    _seen[counted] += 1
    if _seen[counted] <= n:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log the first, and then each ``n``-th time that this line of code is reached."""
    module, place = _caller()
    if _seen[place] % n == 0:
        logging.getLogger(name or module).log(lvl, msg)
    _seen[place] += 1


def log_every_n_seconds(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log unless this line of code has logged within the last ``n`` seconds."""
    module, place = _caller()
    now = time.monotonic()
    if now - _last_time.get(place, -float("inf")) >= n:
        _last_time[place] = now
        logging.getLogger(name or module).log(lvl, msg)
