"""Logging: coloured on a terminal, one file per process, and rate limits."""

import logging
import math
import os
import sys
import time
from functools import cache

from termcolor import colored

from detectron2.utils.file_io import PathManager


class _Formatter(logging.Formatter):
    """Shorten "detectron2."; on a terminal, add colours and the level from warnings up."""

    def __init__(self, on_screen: bool):
        super().__init__("%(asctime)s", datefmt="%m/%d %H:%M:%S")
        self._on_screen = on_screen

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        is_ours = record.name.startswith("detectron2.")
        name = "d2." + record.name.removeprefix("detectron2.") if is_ours else record.name
        if not self._on_screen:
            return f"[{record.asctime}] {name} {record.levelname}: {record.message}"
        line = f"{colored(f'[{record.asctime} {name}]:', 'green')} {record.message}"
        if record.levelno < logging.WARNING:
            return line
        return f"{colored(record.levelname, 'red', attrs=['blink'])} {line}"


@cache  # a second call with the same arguments must not duplicate every line
def setup_logger(
    output=None, distributed_rank=0, *, name="detectron2", configure_stdout=True
) -> logging.Logger:
    """Let the logger ``name`` write to standard output (rank 0 only) and to a file.

    ``output`` is a .txt or .log file, or the folder of a log.txt; processes other than rank 0 add
    ``.rank<N>`` to its name. None: no file.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    streams = []
    on_screen = any(getattr(h, "stream", None) is sys.stdout for h in logger.handlers)
    if configure_stdout and not distributed_rank and not on_screen:
        streams.append(sys.stdout)
    if output is not None:
        path = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
        path += f".rank{distributed_rank}" if distributed_rank else ""
        PathManager.mkdirs(os.path.dirname(path) or ".")
        streams.append(PathManager.open(path, "a", buffering=1, encoding="utf-8"))
    for stream in streams:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_Formatter(stream is sys.stdout))
        logger.addHandler(handler)
    return logger


_last_time: dict[tuple[str, int], float] = {}


def log_every_n_seconds(lvl: int, msg: str, n: int = 1) -> None:
    """Log by the caller's logger, at most once per ``n`` seconds and line of code."""
    caller = sys._getframe(1)
    place = caller.f_code.co_filename, caller.f_lineno
    now = time.monotonic()
    if now - _last_time.get(place, -math.inf) >= n:
        _last_time[place] = now
        logging.getLogger(caller.f_globals["__name__"]).log(lvl, msg)
