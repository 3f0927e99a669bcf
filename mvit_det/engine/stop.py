"""Stop a training between two iterations, with a checkpoint, on Ctrl-C, SIGTERM or SIGHUP."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from detectron2.utils import comm

# SIGHUP: the terminal was closed; Windows has SIGBREAK instead
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
# A terminal and a launcher may both deliver the same Ctrl-C.
SAME_SIGNAL_SECONDS = 2.0


def handle_signals(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Set the handler of all `SIGNALS`, and return the previous ones; nohup's choice is kept."""
    hangup = getattr(signal, "SIGHUP", None)
    kept = {hangup} if hangup and signal.getsignal(hangup) == signal.SIG_IGN else set()
    return {number: signal.signal(number, handler) for number in SIGNALS if number not in kept}


class Stopped(KeyboardInterrupt):
    """The run was asked to stop; ``exit_code`` is 128 + signal, as in shells.

    It is not an `Exception`, so that no handler mistakes it for a bad image and continues.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class StopRequest:
    """Record that the process was asked to stop: ``with StopRequest() as stop: train``.

    The first signal sets `requested`; the loop then saves and calls `end`. A second signal at least
    two seconds later, or any signal while `interruptible` is set, ends the run immediately.

    Attributes:
        requested: number of the first signal, or None.
        interruptible: whether a signal raises `Stopped` immediately.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self.interruptible = False
        self._requested_at = 0.0
        self._ending = False
        self._previous: dict[int, Any] = {}  # signal -> handler

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # as Python requires
            self._previous = handle_signals(self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._ending:  # torch signals the remaining processes when the first has ended
            return
        again = self.requested and time.monotonic() - self._requested_at >= SAME_SIGNAL_SECONDS
        if self.requested is None:
            self.requested, self._requested_at = number, time.monotonic()
        if again or self.interruptible:
            self.end("immediately")

    def agreed(self) -> bool:
        """Return whether any process was asked to stop; all processes must call this together."""
        everyone = comm.all_gather(self.requested)
        self.requested = next((number for number in everyone if number), None)
        return self.requested is not None

    def end(self, when: str) -> None:
        """Raise `Stopped`; ``when`` completes the sentence "Stopped by SIGINT ..."."""
        assert self.requested is not None, "call it after a signal"
        self._ending = True
        name = signal.Signals(self.requested).name
        raise Stopped(f"Stopped by {name} {when}; continue with --resume.", 128 + self.requested)
