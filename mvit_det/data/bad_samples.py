"""Images or videos that cannot be used: each is reported once, and too many end a training."""

import logging
from dataclasses import dataclass

from mvit_det.errors import UserError, printable, some

logger = logging.getLogger(__name__)

# By this many different files the share is known, and no more names are kept in memory.
_ENOUGH = 100_000


@dataclass
class BadSamples:
    """Counts the bad ones among the different files that were asked for.

    Args:
        kind: what they are, in one word: "image", "video", "clip".
        is_train: bad files are skipped, and too many raise `UserError`. In testing nothing can be
            left out without a trace, and a long training must not end in its evaluation.
        max_bad_share: the largest share that is skipped.
        min_seen: calls before the share is judged; five bad files before any good one are enough.
        in_testing: what becomes of a bad file then, for the log.

    NOTE: each worker of a loader holds its own copy and hence its own counts; as workers draw from
    the same shuffled stream, each judges a fair sample.
    """

    kind: str
    is_train: bool
    max_bad_share: float
    min_seen: int
    in_testing: str

    def __post_init__(self) -> None:
        self._calls = 0
        self._seen: set[str] = set()
        self._bad: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()
        self._bad_seen = 0

    def asked_for(self, name: str) -> None:
        """A file, or a part of one, is going to be read."""
        self._calls += 1
        if len(self._seen) < _ENOUGH:
            self._seen.add(name)

    def add(self, name: str, label: str, reason: str, *, file_name: str | None = None) -> None:
        """What was asked for is bad.

        Args:
            label: says in the log which one it is.
            file_name: of a part; parts of one file that are bad for one reason are logged once.
        """
        if name not in self._bad:
            self._bad[name] = reason
            self._bad_seen += name in self._seen
            told = (name if file_name is None else file_name, reason)
            if told not in self._told:
                self._told.add(told)
                done = "skipped" if self.is_train else self.in_testing
                kind = self.kind.capitalize()
                logger.warning("%s %s%s is %s: %s", kind, printable(name), label, done, reason)
        bad, seen = self._bad_seen, len(self._seen)
        judged = self._calls >= self.min_seen or bad == seen >= 5
        if self.is_train and judged and bad > self.max_bad_share * seen:
            listed = some((f"{name}: {why}" for name, why in self._bad.items()), limit=3)
            raise UserError(
                f"{bad} of the {seen} {self.kind}s seen so far cannot be used, more "
                f"than max_bad_share={self.max_bad_share} allows ({listed}): repair them, take "
                "them out of the data set, or raise max_bad_share of the mapper."
            )
