"""Images and videos that cannot be used: each is logged once, and too many end the training."""

import logging
from dataclasses import dataclass

from mvit_det.errors import UserError, printable, shorten_list

logger = logging.getLogger(__name__)

# After this many different files the share is known, and no more names are kept in memory.
_MOST_NAMES = 100_000


class TooManyBad(UserError):
    """More files or annotations are bad than ``max_bad_share`` allows; the message lists some."""


@dataclass
class BadSamples:
    """Counts bad files among the different files that were requested.

    Args:
        kind: what the files are, in one word: "image", "video", "clip".
        is_train: True: bad files are skipped, and too many raise `UserError`. False: bad files are
            only logged, since an evaluation must not end a long training.
        max_bad_share: largest share (0..1) of bad files that is skipped.
        min_seen: requests before the share is checked; five bad files before any good one, and
            any bad file if none is allowed, are checked at once.
        in_testing: how a bad file is handled in testing, for the log.

    NOTE: each worker of a loader counts in a separate copy. As workers draw from the same shuffled
    stream, each has a fair sample.
    """

    kind: str
    is_train: bool
    max_bad_share: float
    min_seen: int
    in_testing: str

    def __post_init__(self) -> None:
        self._requests = 0
        self._requested: set[str] = set()
        self._reasons: dict[str, str] = {}  # of bad files, by name
        self._logged: set[tuple[str, str]] = set()
        self._bad_requested = 0

    def count_request(self, name: str) -> None:
        """Count a file, or a part of one, that is about to be read."""
        self._requests += 1
        if len(self._requested) < _MOST_NAMES:
            self._requested.add(name)

    def add(self, name: str, label: str, reason: str, *, file_name: str | None = None) -> None:
        """Count a requested file as bad, and log it the first time.

        Args:
            name: as given to `count_request`.
            label: appended to the name in the log, such as " (id 7)".
            reason: why it cannot be used.
            file_name: the file that ``name`` is a part of; parts of a file that are bad for the
                same reason are logged once.

        Raises:
            UserError: in training, the share of bad files is above ``max_bad_share``.
        """
        if name not in self._reasons:
            self._reasons[name] = reason
            self._bad_requested += name in self._requested
            entry = (name if file_name is None else file_name, reason)
            if entry not in self._logged:
                self._logged.add(entry)
                done = "skipped" if self.is_train else self.in_testing
                kind = self.kind.capitalize()
                logger.warning("%s %s%s is %s: %s", kind, printable(name), label, done, reason)
        bad, requested = self._bad_requested, len(self._requested)
        enough = self._requests >= self.min_seen or bad == requested >= 5 or not self.max_bad_share
        if self.is_train and enough and bad > self.max_bad_share * requested:
            faults = (f"{name}: {reason}" for name, reason in self._reasons.items())
            listed = shorten_list(faults, limit=3)
            raise TooManyBad(
                f"{bad} of the {requested} {self.kind}s read so far cannot be used, more "
                f"than max_bad_share={self.max_bad_share} allows ({listed}): repair them, take "
                "them out of the data set, or raise max_bad_share of the mapper."
            )
