"""How far a run is, in the log."""

import datetime
import logging
import time

logger = logging.getLogger(__name__)


class Progress:
    """Logs what is done, the speed, and the time left, every few seconds.

    Args:
        total: of pictures and frames, as files tell it; 0 if one does not.
        every: seconds between two lines.
        unit: what is counted.
    """

    def __init__(self, total: int, every: float = 5.0, unit: str = "images") -> None:
        self.total = total
        self.every = every
        self.unit = unit
        self.done = 0
        self._start = self._last = time.monotonic()

    def update(self, count: int) -> None:
        """``count`` more are done."""
        self.done += count
        now = time.monotonic()
        if now - self._last < self.every:
            return
        self._last = now
        rate = self.done / (now - self._start)
        if self.total < self.done:
            logger.info("%d %s, %.2f %s/s", self.done, self.unit, rate, self.unit)
            return
        left = datetime.timedelta(seconds=round((self.total - self.done) / rate))
        what = (self.done, self.total, self.unit, rate, self.unit, left)
        logger.info("%d of %d %s, %.2f %s/s, ETA %s", *what)
