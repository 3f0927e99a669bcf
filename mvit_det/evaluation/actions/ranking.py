"""Which detections of a key frame AVA's official scorer keeps, and in which order it sees them.

It reads a file row by row into one bounded heap per key frame, whose least entry makes room for a
row of a higher score, and then sorts what is left by falling score. Where scores are equal, the heap
decides which of them stay and which come first: such key frames are put through Python's own heap,
as the scorer does, and all others are sorted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import heappush, heapreplace
from itertools import pairwise

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
        x1, y1, x2, y2 = self.box.T
        return list(zip(*(each.tolist() for each in (self.score, self.action, y1, x1, y2, x2))))


def rank_in_group(group: np.ndarray) -> np.ndarray:
    """How many equal numbers stand right before each: 0, 1, 0, 0, 1, 2 of 5, 5, 3, 8, 8, 8."""
    starts = np.flatnonzero(np.diff(group, prepend=np.nan) != 0)
    return np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))


def official_order(found: Boxes) -> np.ndarray:
    """Rows that count, by key frame and falling score; ``found.frame`` ascends."""
    starts = np.flatnonzero(np.diff(found.frame, prepend=-1)).tolist()
    falling, rows = -found.score, [np.zeros(0, int)]
    for start, end in pairwise([*starts, len(found)]):
        order = start + np.argsort(falling[start:end], kind="stable")
        first = falling[order[: LIMIT + 1]]
        if (first[1:] == first[:-1]).any():
            entries = found.rows(slice(start, end)).entries()
            # of equal entries any stands for the others
            row_of = dict(zip(entries, range(start, end)))
            order = np.array([row_of[entry] for entry in as_official(entries, LIMIT)])
        rows.append(order[:LIMIT])
    return np.concatenate(rows)


def as_official(entries: Iterable[Entry], limit: int | None = None) -> list[Entry]:
    """Which entries of one key frame stay, at most ``limit``, in the order in which they count."""
    heap: list[Entry] = []
    for entry in entries:
        if limit is None or len(heap) < limit:
            heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapreplace(heap, entry)
    return sorted(heap, key=lambda entry: -entry[0])
