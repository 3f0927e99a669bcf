"""Which detections of a key frame AVA's official scorer keeps, and in which order.

It reads a file row by row into one bounded heap per key frame, whose smallest entry is replaced by
a row of a higher score, and then sorts the rest by falling score. If scores are equal, the heap
decides which of them stay and which come first: such key frames go through Python's heap here too,
and all others are sorted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import heappush, heapreplace
from itertools import pairwise

import numpy as np

# number of labelled boxes per key frame that count
LIMIT = 50

Entry = tuple[float, int, float, float, float, float]  # score, action, y1, x1, y2, x2


@dataclass(frozen=True)
class Boxes:
    """Labelled boxes, one row each: a box with three actions has three rows.

    Attributes:
        frame: (N,) key frame number, from 0 on.
        box: (N, 4) x1, y1, x2, y2, in any one unit.
        action: (N,) action id.
        score: (N,); for ground truth, where it only orders boxes of equal overlap, what the
            official scorer uses: the person id, or 1 if there is none.
    """

    frame: np.ndarray
    box: np.ndarray
    action: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def rows(self, index: np.ndarray | slice) -> "Boxes":
        """Select rows by a slice, an array of indices, or a boolean mask."""
        return replace(self, **{name: column[index] for name, column in vars(self).items()})

    def entries(self) -> list[Entry]:
        """Return the tuples that the official scorer compares, field by field."""
        x1, y1, x2, y2 = self.box.T
        return list(zip(*(each.tolist() for each in (self.score, self.action, y1, x1, y2, x2))))


def rank_in_group(group: np.ndarray) -> np.ndarray:
    """Count the equal numbers directly before each: 0, 1, 0, 0, 1, 2 for 5, 5, 3, 8, 8, 8."""
    starts = np.flatnonzero(np.diff(group, prepend=np.nan) != 0)
    return np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))


def official_order(found: Boxes) -> np.ndarray:
    """Return the rows that count, by key frame and falling score; ``found.frame`` must ascend."""
    starts = np.flatnonzero(np.diff(found.frame, prepend=-1)).tolist()
    falling, rows = -found.score, [np.zeros(0, int)]
    for start, end in pairwise([*starts, len(found)]):
        order = start + np.argsort(falling[start:end], kind="stable")
        first = falling[order[: LIMIT + 1]]
        if (first[1:] == first[:-1]).any():
            entries = found.rows(slice(start, end)).entries()
            # equal entries are interchangeable
            row_of = dict(zip(entries, range(start, end)))
            order = np.array([row_of[entry] for entry in as_official(entries, LIMIT)])
        rows.append(order[:LIMIT])
    return np.concatenate(rows)


def as_official(entries: Iterable[Entry], limit: int | None = None) -> list[Entry]:
    """Return the at most ``limit`` entries of one key frame that stay, in the scorer's order."""
    heap: list[Entry] = []
    for entry in entries:
        if limit is None or len(heap) < limit:
            heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapreplace(heap, entry)
    return sorted(heap, key=lambda entry: -entry[0])
