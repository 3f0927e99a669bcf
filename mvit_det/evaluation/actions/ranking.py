"""Which detections of a key frame AVA's official scorer keeps, and in which order.

It reads a file row by row into one bounded heap per key frame, where a row of a higher score
replaces the smallest entry, and then sorts the entries by descending score. Among equal scores the
heap decides which ones stay and which come first: here key frames with equal scores go through
Python's heap too, and the other key frames are sorted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from heapq import heappush, heapreplace
from itertools import pairwise

import numpy as np

# maximum number of labelled boxes per key frame that count
LIMIT = 50

Entry = tuple[float, int, float, float, float, float]  # score, action, y1, x1, y2, x2


@dataclass(frozen=True)
class ActionBoxes:
    """Labelled boxes, one row each: a box with three actions has three rows.

    Attributes:
        frame: (N,) index of the key frame.
        box: (N, 4) x1, y1, x2, y2, in any unit.
        action: (N,) action id.
        score: (N,); for ground truth as in the official scorer the person id, or 1 without one,
            which only orders boxes of equal IoU.
    """

    frame: np.ndarray
    box: np.ndarray
    action: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def rows(self, index: np.ndarray | slice) -> "ActionBoxes":
        """Select rows by a slice, an array of indices, or a boolean mask."""
        return replace(self, **{name: column[index] for name, column in vars(self).items()})

    def entries(self) -> list[Entry]:
        """Return the tuples that the official scorer compares, field by field."""
        x1, y1, x2, y2 = self.box.T
        return list(zip(*(column.tolist() for column in (self.score, self.action, y1, x1, y2, x2))))


def rank_in_group(group: np.ndarray) -> np.ndarray:
    """Return the index (N,) of each element in its run of equal numbers: 5, 5, 3 -> 0, 1, 0."""
    starts = np.flatnonzero(np.diff(group, prepend=np.nan) != 0)
    return np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))


def official_order(found: ActionBoxes) -> np.ndarray:
    """Return the indices of rows that count, by key frame and descending score.

    Args:
        found: detections whose ``frame`` ascends.
    """
    starts = np.flatnonzero(np.diff(found.frame, prepend=-1)).tolist()
    falling, rows = -found.score, [np.zeros(0, int)]
    for start, end in pairwise([*starts, len(found)]):
        order = start + np.argsort(falling[start:end], kind="stable")
        first = falling[order[: LIMIT + 1]]
        if (first[1:] == first[:-1]).any():
            entries = found.rows(slice(start, end)).entries()
            # equal entries are interchangeable
            row_of = dict(zip(entries, range(start, end)))
            order = np.array([row_of[entry] for entry in official_entries(entries, LIMIT)])
        rows.append(order[:LIMIT])
    return np.concatenate(rows)


def official_entries(entries: Iterable[Entry], limit: int | None = None) -> list[Entry]:
    """Return at most ``limit`` entries of one key frame, selected and sorted as by the scorer."""
    heap: list[Entry] = []
    for entry in entries:
        if limit is None or len(heap) < limit:
            heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapreplace(heap, entry)
    return sorted(heap, key=lambda entry: -entry[0])
