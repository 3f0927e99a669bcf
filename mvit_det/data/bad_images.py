"""Images that cannot be used: each is reported once, and too many of them end a training."""

import logging

from mvit_det.errors import UserError, some

logger = logging.getLogger(__name__)

# By this many different images the share is known, and no more names are kept in memory.
_ENOUGH = 100_000


class BadImages:
    """Counts the bad ones among the different images that were asked for.

    Args:
        is_train: bad images are skipped, and too many raise `UserError`. In testing nothing can be
            left out without a trace, and a long training must not end in its evaluation.
        max_bad_share: the largest share that is skipped.
        min_seen: calls before the share is judged; five bad images before any good one are enough.
        in_testing: what becomes of a bad image then, for the log.

    NOTE: each worker of a loader holds its own copy and hence its own counts; as workers draw from
    the same shuffled stream, each judges a fair sample.
    """

    def __init__(self, is_train: bool, max_bad_share: float, min_seen: int, in_testing: str):
        self.is_train = is_train
        self.max_bad_share = max_bad_share
        self.min_seen = min_seen
        self.in_testing = in_testing
        self._calls = 0
        self._seen: set[str] = set()
        self._bad: dict[str, str] = {}
        self._bad_seen = 0

    def asked_for(self, file_name: str) -> None:
        """An image is going to be read."""
        self._calls += 1
        if len(self._seen) < _ENOUGH:
            self._seen.add(file_name)

    def add(self, file_name: str, label: str, reason: str) -> None:
        """An image that was asked for is bad; ``label`` says in the log which one it is."""
        if file_name not in self._bad:
            self._bad[file_name] = reason
            self._bad_seen += file_name in self._seen
            done = "skipped" if self.is_train else self.in_testing
            logger.warning("Image %s%s is %s: %s", file_name, label, done, reason)
        bad, seen = self._bad_seen, len(self._seen)
        judged = self._calls >= self.min_seen or bad == seen >= 5
        if self.is_train and judged and bad > self.max_bad_share * seen:
            listed = some((f"{name}: {why}" for name, why in self._bad.items()), limit=3)
            raise UserError(
                f"{bad} of the {seen} images seen so far cannot be used, more "
                f"than max_bad_share={self.max_bad_share} allows ({listed}): repair them, take "
                "them out of the data set, or raise max_bad_share of the mapper."
            )
