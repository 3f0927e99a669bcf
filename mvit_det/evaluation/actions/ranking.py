"""Which detections of a key frame AVA's official scorer keeps, and in which order it sees them.

It reads a file row by row into one bounded heap per key frame, whose least entry makes room for a
row of a higher score, and then sorts what is left by falling score. Where scores are equal, the heap
decides which of them stay and which come first; `_strongest` tells the former without a heap, and
`heap_slots`, asked for the few key frames where it matters, the latter. All is done for all key
frames at once.

Letters: D detections, F key frames.
"""

from dataclasses import dataclass, replace

import numpy as np

from mvit_det.evaluation.ranks import rank_in_group

# how many labelled boxes of a key frame count
LIMIT = 50
# scores that are compared at a time: bounds the memory
_SCORES_AT_ONCE = 4_000_000


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

    def rows(self, index: np.ndarray) -> "Boxes":
        """The rows that an array of numbers or of booleans selects."""
        return replace(self, **{name: column[index] for name, column in vars(self).items()})


def official_order(found: Boxes) -> np.ndarray:
    """Rows that count, by key frame and falling score; equal scores in the order of ``found``.

    ``found.frame`` ascends.
    """
    rows = np.flatnonzero(_strongest(found))
    frame, rank = found.frame[rows], rank_in_group(found.frame[rows])
    count = np.bincount(frame)
    table = np.full((len(count), LIMIT), np.inf)
    table[frame, rank] = -found.score[rows]
    order = np.argsort(table, axis=1, kind="stable")
    starts = np.cumsum(count) - count
    return rows[(starts[:, None] + order)[np.arange(LIMIT) < count[:, None]]]


def _strongest(found: Boxes) -> np.ndarray:
    """(D,) whether a detection is among the `LIMIT` ones of its key frame that stay.

    Where several have the lowest score that stays, those that came early enough to get into the
    heap contend, which are the ones before `LIMIT` rows of that score or a higher one; of these the
    greatest (action, y1, x1, y2, x2) stay.
    """
    frame, score = found.frame, found.score
    count = np.bincount(frame)
    full = np.flatnonzero(count > LIMIT)
    least = np.full(len(count), -np.inf)
    least[full] = _lowest_that_stays(score, (np.cumsum(count) - count)[full], count[full])
    stays = score >= least[frame]
    too_many = np.bincount(frame[stays], minlength=len(count)) > LIMIT
    rows = np.flatnonzero(stays & too_many[frame])
    at_limit = score[rows] == least[frame[rows]]
    room = LIMIT - np.bincount(frame[rows[~at_limit]], minlength=len(count))
    stays[rows[at_limit]] = False
    contenders = rows[at_limit & (rank_in_group(frame[rows]) < LIMIT)]
    x1, y1, x2, y2 = found.box[contenders].T
    keys = (-x2, -y2, -x1, -y1, -found.action[contenders], frame[contenders])
    contenders = contenders[np.lexsort(keys)]
    stays[contenders] = rank_in_group(frame[contenders]) < room[frame[contenders]]
    return stays


def _lowest_that_stays(score: np.ndarray, start: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The `LIMIT`-th highest score of each run of ``count`` scores, all longer than that."""
    result = np.empty(len(count))
    # By length, so that the rows of a table have nearly the same.
    order, begin = np.argsort(-count), 0
    while begin < len(order):
        width = count[order[begin]]
        block = order[begin : begin + max(1, _SCORES_AT_ONCE // width)]
        column = np.arange(width)
        index = np.minimum(start[block, None] + column, len(score) - 1)
        table = np.where(column < count[block, None], score[index], -np.inf)
        result[block] = np.partition(table, width - LIMIT, axis=1)[:, width - LIMIT]
        begin += len(block)
    return result


def heap_slots(boxes: Boxes, limit: int | None = None) -> np.ndarray:
    """Where each row ends in the heap of its key frame, -1 for those that had to make room.

    The heap is Python's (https://docs.python.org/3/library/heapq.html#theory), of at most ``limit``
    entries (score, action, y1, x1, y2, x2). Round r takes the r-th row of all key frames.
    ``boxes.frame`` ascends.
    """
    frame = np.cumsum(np.diff(boxes.frame, prepend=-1) != 0) - 1
    rank = rank_in_group(frame)
    rounds = np.bincount(rank)
    capacity = len(rounds) if limit is None else min(limit, len(rounds))
    heaps = _Heaps(boxes.score, _tie_break(boxes), capacity, int(frame[-1]) + 1)
    by_round = np.split(np.argsort(rank, kind="stable"), np.cumsum(rounds)[:-1])
    for number, row in enumerate(by_round):
        heap = frame[row]
        if number < capacity:
            heaps.rise(heap, np.full(len(row), number), row)
        else:
            better = boxes.score[row] > boxes.score[heaps.rows[0, heap]]
            heaps.replace_least(heap[better], row[better])
    slots = np.full(len(boxes), -1)
    slot, heap = np.nonzero(heaps.rows >= 0)
    slots[heaps.rows[slot, heap]] = slot
    return slots


def _tie_break(boxes: Boxes) -> np.ndarray:
    """(N,) numbers in the order of (action, y1, x1, y2, x2), equal for equal ones."""
    # Rows of one box mostly stand together, and few are left to be sorted.
    starts = np.ones(len(boxes), bool)
    starts[1:] = (boxes.box[1:] != boxes.box[:-1]).any(axis=1)
    box = boxes.box[starts]
    order = np.lexsort(box[:, [2, 3, 0, 1]].T)
    box = box[order]
    number = np.empty(len(box), int)
    number[order] = np.cumsum(np.append(False, (box[1:] != box[:-1]).any(axis=1)))
    return boxes.action * len(box) + number[np.cumsum(starts) - 1]


class _Heaps:
    """Many binary heaps of rows, side by side.

    rows: (capacity, heaps), the row in each slot, -1 in free ones; slot 0 holds the least row, and
    the slots below slot i are 2 i + 1 and 2 i + 2.
    """

    def __init__(self, score: np.ndarray, tie: np.ndarray, capacity: int, heaps: int):
        self.score, self.tie = score, tie
        self.rows = np.full((capacity, heaps), -1)

    def _less(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        score, other = self.score[first], self.score[second]
        return (score < other) | ((score == other) & (self.tie[first] < self.tie[second]))

    def rise(self, heap: np.ndarray, slot: np.ndarray, row: np.ndarray) -> None:
        """Put each row into its heap's slot, or as far above it as there are greater rows."""
        while len(row):
            above = np.maximum(slot - 1, 0) >> 1
            parent = self.rows[above, heap]
            climbs = (slot > 0) & self._less(row, parent)
            self.rows[slot, heap] = np.where(climbs, parent, row)
            heap, slot, row = heap[climbs], above[climbs], row[climbs]

    def replace_least(self, heap: np.ndarray, row: np.ndarray) -> None:
        """Put rows in the place of the least ones of full heaps."""
        capacity = len(self.rows)
        slot = np.zeros(len(row), int)
        # The gap goes down to the end, always to the lesser row, and the new row rises from there.
        while (inner := np.flatnonzero(2 * slot + 1 < capacity)).size:
            at, left = heap[inner], 2 * slot[inner] + 1
            right = np.minimum(left + 1, capacity - 1)
            goes_left = self._less(self.rows[left, at], self.rows[right, at])
            below = np.where(goes_left, left, right)
            self.rows[slot[inner], at] = self.rows[below, at]
            slot[inner] = below
        self.rise(heap, slot, row)
