"""Judge what a reader does with one input: it works, or ends in one sentence, in time."""

import logging
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mvit_det.errors import UserError, printable

SECONDS = 60  # for one input, on a busy machine; most take milliseconds
MEMORY = 2 << 30  # bytes that the peak of the process may grow by
# What reading a file must never do: events of `sys.addaudithook`.
_FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen")
_FORBIDDEN += (
    "socket.connect",
    "socket.getaddrinfo",
    "ctypes.dlopen",
    "os.remove",
    "shutil.rmtree",
)

_watching = False
_seen: list[str] = []


def canary(*_: Any) -> None:
    """What the inputs try to call."""
    _seen.append("the canary was called")


def _watch(event: str, arguments: tuple) -> None:
    if _watching and event in _FORBIDDEN:
        _seen.append(f"{event}{arguments}"[:300])


sys.addaudithook(_watch)


class Hangs(BaseException):
    """No reader may catch it."""


class _Log(logging.Handler):
    """Format each record: a name in it may be one that no terminal can show."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().replace("\n", "").replace("\t", "")
        if printable(text) != text:
            _seen.append(f"logged {text[:300]!r}")

    def handleError(self, record: logging.LogRecord) -> None:
        raise


@contextmanager
def watched() -> Iterator[None]:
    """Fail if the block takes long, takes much memory, logs what cannot be shown, or runs code."""
    global _watching

    def late(*_: Any) -> None:
        raise Hangs

    _seen.clear()
    handler, log = _Log(), logging.getLogger("mvit_det")
    log.addHandler(handler)
    log.propagate = False  # thousands of lines
    previous = signal.signal(signal.SIGALRM, late)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    signal.alarm(SECONDS)
    _watching = True
    try:
        yield
    except Hangs:
        raise AssertionError(f"no end after {SECONDS} s") from None
    finally:
        _watching = False
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        log.removeHandler(handler)
        log.propagate = True
    assert not _seen, _seen
    assert time.monotonic() - begin < SECONDS, "too slow, where no signal is handled"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    assert grown < MEMORY, f"{grown >> 20} MiB more memory"


def outcome(read: Callable[[Any], Any], given: Any) -> str:
    """Return "accepted" or "sentence"; any other end raises an error.

    Args:
        read: reads an input; it may return the reason for which the input is skipped.
        given: the input.
    """
    try:
        with watched():
            sentence = read(given)
    except UserError as error:
        sentence = str(error)
        assert sentence.endswith("."), sentence[:1500]
    if not isinstance(sentence, str):
        return "accepted"
    assert 3 < len(sentence) < 1500, sentence[:1500]
    assert printable(sentence) == sentence, sentence
    return "sentence"
