"""Ctrl-C and SIGTERM end a training between two iterations, with a checkpoint."""

import signal
import threading
import time
from types import FrameType

from detectron2.utils import comm

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A terminal and a launcher may both pass on the same Ctrl-C.
SAME_SIGNAL_SECONDS = 2.0


class Stopped(KeyboardInterrupt):
    """The run ends because it was asked to; ``exit_code`` is 128 + signal, as shells have it.

    No `Exception`, so that nothing takes it for a fault, of an image for instance, and goes on.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class StopRequest:
    """Remembers that the process was asked to stop: ``with StopRequest() as stop: train``.

    The first signal sets `requested`; the loop then saves and calls `end`. A second one, at least
    two seconds later, or any while `interruptible` is set, ends the run on the spot.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self.interruptible = False
        self._since = 0.0
        self._ending = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # as Python demands
            self._previous = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._ending:  # torch ends the processes that are left when the first has ended
            return
        again = self.requested and time.monotonic() - self._since >= SAME_SIGNAL_SECONDS
        if self.requested is None:
            self.requested, self._since = number, time.monotonic()
        if again or self.interruptible:
            self.end("on the spot")

    def agreed(self) -> bool:
        """Whether any process was asked; all processes call this together."""
        everyone = comm.all_gather(self.requested)
        self.requested = next((number for number in everyone if number), None)
        return self.requested is not None

    def end(self, when: str) -> None:
        """Raise `Stopped`."""
        self._ending = True
        name = signal.Signals(self.requested).name
        raise Stopped(
            f"Stopped by {name} {when}; start again with --resume to go on.", 128 + self.requested
        )
