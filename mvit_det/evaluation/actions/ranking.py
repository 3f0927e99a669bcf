"""Which detections of a key frame AVA's official scorer keeps, and in which order it sees them.

It reads a file row by row into one bounded heap per key frame, whose least entry makes room for a
row of a higher score, and then sorts what is left by falling score. Where scores are equal, the heap
decides which of them stay and which come first: such key frames are put through Python's own heap,
as the scorer does, and all others are sorted at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import heappush, heapreplace

import numpy as np

# how many labelled boxes of a key frame count
LIMIT = 50

Entry = tuple[float, int, float, float, float, float]  # score, action, y1, x1, y2, x2


@dataclass(frozen=True)
class Boxes:
    """Labelled boxes, one row each: a box with three actions has three rows.

    frame: (N,) number of its key frame, from 0. box: (N, 4) as x1, y1, x2, y2, in any one unit.
    action: (N,) its id. score: (N,); of the ground truth it only orders boxes of equal overlap, and
    is what the official scorer takes for it: the number of the person, or 1 where there is none.
    """

    frame: np.ndarray
    box: np.ndarray
    action: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def rows(self, index: np.ndarray | slice) -> "Boxes":
        """The rows that a slice, or an array of numbers or of booleans, selects."""
        return replace(self, **{name: column[index] for name, column in vars(self).items()})

    def entries(self) -> list[Entry]:
        """What the official scorer compares, in its order."""
        return list(zip(self.score.tolist(), self.action.tolist(), *self.box.T[[1, 0, 3, 2]].tolist()))


def rank_in_group(group: np.ndarray) -> np.ndarray:
    """How many equal numbers stand right before each: 0, 1, 0, 0, 1, 2 of 5, 5, 3, 8, 8, 8."""
    starts = np.flatnonzero(np.diff(group, prepend=np.nan) != 0)
    return np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))


def official_order(found: Boxes) -> np.ndarray:
    """Rows that count, by key frame and falling score; ``found.frame`` ascends."""
    order = np.lexsort((-found.score, found.frame))
    frame, rank = found.frame[order], rank_in_group(found.frame)
    stays = rank < LIMIT
    rows, score = order[stays], found.score[order]
    tied = (np.diff(score) == 0) & (np.diff(rank) == 1) & stays[:-1]
    numbers = np.unique(frame[1:][tied])
    places = np.searchsorted(frame[stays], numbers).tolist()
    ends = np.searchsorted(found.frame, numbers, "right").tolist()
    starts = np.searchsorted(found.frame, numbers).tolist()
    for place, start, end in zip(places, starts, ends):
        # of equal entries any stands for the others
        entries = found.rows(slice(start, end)).entries()
        row_of = dict(zip(entries, range(start, end)))
        kept = [row_of[entry] for entry in as_official(entries, LIMIT)]
        rows[place : place + len(kept)] = kept
    return rows


def as_official(entries: Iterable[Entry], limit: int | None = None) -> list[Entry]:
    """The entries of one key frame that stay, at most ``limit``, in the order in which they count."""
    heap: list[Entry] = []
    for entry in entries:
        if limit is None or len(heap) < limit:
            heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapreplace(heap, entry)
    return sorted(heap, key=lambda entry: -entry[0])
