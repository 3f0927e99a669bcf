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
    """

    def __init__(self, total: int, every: float = 5.0) -> None:
        self.total = total
        self.every = every
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
            logger.info("%d images, %.2f images/s", self.done, rate)
            return
        left = datetime.timedelta(seconds=round((self.total - self.done) / rate))
        logger.info("%d of %d images, %.2f images/s, ETA %s", self.done, self.total, rate, left)
