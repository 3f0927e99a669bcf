"""Which detection finds which object: overlaps of boxes and masks, and COCO's greedy matching.

Letters: N objects, D detections, P pairs of a detection and an object of its image and class that
overlap enough, C detections with such a pair, T thresholds of the overlap, A ranges of area.

A pair counts only from the lowest threshold on, and few pairs get there, so everything after
`overlapping_pairs` is small. The matching is greedy within one image and class, but images and
classes know nothing of each other: round r takes the r-th detection of all of them at once, for all
thresholds and areas.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pycocotools import mask as coco_mask

# pairs whose boxes are compared at a time: bounds the memory
_PAIRS_AT_ONCE = 1_000_000


Table = TypeVar("Table", bound="_Table")


class _Table:
    """Columns of one length; one row per object or detection."""

    def __len__(self) -> int:
        return len(self.image)

    def rows(self: Table, index: np.ndarray) -> Table:
        """The rows that an array of numbers or of booleans selects."""
        columns = dict(vars(self))
        masks = columns.pop("masks")
        columns = {name: column[index] for name, column in columns.items()}
        if masks is not None:
            masks = [masks[i] for i in np.arange(len(self))[index]]
        return replace(self, **columns, masks=masks)


@dataclass(frozen=True)
class Objects(_Table):
    """Ground truth, one row per object, in the order of the annotation file.

    image: index of its image; label: index of its class; box: (N, 4) as x, y, width, height in
    pixels; area in pixels, by which it is small, medium or large; crowd: a region that may hold
    many; masks: N compressed RLEs, where masks are measured.
    """

    image: np.ndarray
    label: np.ndarray
    box: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    masks: Sequence[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Detections(_Table):
    """Detections, one row each; as `Objects`, with a score instead of crowd.

    Where there are masks, the area is theirs.
    """

    image: np.ndarray
    label: np.ndarray
    box: np.ndarray
    area: np.ndarray
    score: np.ndarray
    masks: Sequence[dict[str, Any]] | None = None


class Pairs(NamedTuple):
    """Rows of detections and of objects, and their overlap; each (P,), sorted by detection."""

    detection: np.ndarray
    object: np.ndarray
    overlap: np.ndarray


class Matches(NamedTuple):
    """What became of the C detections that overlap an object enough.

    detection: (C,) rows, ascending. found: (C, T, A) it is matched. ignored: (C, T, A) it is
    matched with an object that does not count. object: (C,) row of the object at the first
    threshold and the first range of area, -1 for none.
    """

    detection: np.ndarray
    found: np.ndarray
    ignored: np.ndarray
    object: np.ndarray


def groups(table: Objects | Detections, num_classes: int) -> np.ndarray:
    """One number per row for its image and class; sorting by it sorts by image, then class."""
    return table.image * num_classes + table.label


def rank_in_group(group: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of equal numbers."""
    index = np.arange(len(group))
    starts = np.ones(len(group), bool)
    starts[1:] = group[1:] != group[:-1]
    return index - np.maximum.accumulate(np.where(starts, index, 0))


def overlapping_pairs(
    detections: Detections,
    objects: Objects,
    detection_group: np.ndarray,
    object_group: np.ndarray,
    least: float,
) -> Pairs:
    """Find all pairs within a group whose overlap is at least ``least``.

    The overlap is that of the masks where both sides have some, else that of the boxes: the
    intersection over the union, or over the detection alone where the object is a crowd.
    ``object_group`` must ascend.
    """
    first = np.searchsorted(object_group, detection_group, "left")
    count = np.searchsorted(object_group, detection_group, "right") - first
    candidates = np.flatnonzero(count)
    # Pairs before each detection, to cut them into pieces of bounded size.
    ends = np.cumsum(count[candidates])
    pieces = np.flatnonzero(np.diff(ends // _PAIRS_AT_ONCE, prepend=0))
    with_masks = detections.masks is not None and objects.masks is not None
    if with_masks:
        overlap = _mask_overlap(detections, objects, candidates, least)
    else:
        overlap = partial(_box_overlap, detections, objects)
    found = []
    for piece in np.split(candidates, pieces):
        row = np.repeat(piece, count[piece])
        column = first[row] + rank_in_group(row)
        value = overlap(row, column)
        keep = value >= least
        found.append((row[keep], column[keep], value[keep]))
    return Pairs(*map(np.concatenate, zip(*found)))


def _intersection(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Common area of boxes (P, 4) and (P, 4), as x, y, width, height."""
    sides = []
    for x in (0, 1):  # along x, along y
        low = np.maximum(first[:, x], second[:, x])
        high = np.minimum(first[:, x] + first[:, x + 2], second[:, x] + second[:, x + 2])
        sides.append(np.maximum(high - low, 0))
    return sides[0] * sides[1]


def _ratio(common: np.ndarray, whole: np.ndarray) -> np.ndarray:
    # What has no area overlaps nothing.
    return np.divide(common, whole, out=np.zeros_like(common), where=common > 0)


def _box_overlap(
    detections: Detections, objects: Objects, row: np.ndarray, column: np.ndarray
) -> np.ndarray:
    ours, theirs = detections.box[row], objects.box[column]
    common = _intersection(ours, theirs)
    own_area = ours[:, 2] * ours[:, 3]
    union = own_area + theirs[:, 2] * theirs[:, 3] - common
    return _ratio(common, np.where(objects.crowd[column], own_area, union))


def _mask_overlap(
    detections: Detections, objects: Objects, candidates: np.ndarray, least: float
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function of pairs' rows and columns; what is surely below ``least`` becomes 0.

    Only rows of ``candidates`` are asked for.

    Decoding masks is slow. The boxes around two masks and the masks' areas give an upper bound of
    the overlap, which spares most pairs: no mask has more in common than their boxes have, and no
    union is smaller than the larger mask.
    """
    outlines = np.zeros((len(detections), 4))
    outlines[candidates] = _outlines([detections.masks[i] for i in candidates])
    their_outlines, their_area = _outlines(objects.masks), mask_areas(objects.masks)

    def overlap(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        common = _intersection(outlines[row], their_outlines[column])
        area = detections.area[row]
        larger = np.where(objects.crowd[column], area, np.maximum(area, their_area[column]))
        close = np.flatnonzero(_ratio(common, larger) >= least)
        result = np.zeros(len(row))
        # Pairs of one group stand together: its objects begin at the same row.
        image_and_class = column[close] - rank_in_group(row)[close]
        cuts = np.flatnonzero(np.diff(image_and_class)) + 1
        for pairs in np.split(close, cuts) if len(close) else ():
            rows, at_row = np.unique(row[pairs], return_inverse=True)
            columns, at_column = np.unique(column[pairs], return_inverse=True)
            table = coco_mask.iou(
                [detections.masks[i] for i in rows],
                [objects.masks[i] for i in columns],
                objects.crowd[columns].astype(np.uint8),
            )
            result[pairs] = table[at_row, at_column]
        return result

    return overlap


def _outlines(masks: Sequence[dict[str, Any]]) -> np.ndarray:
    """Boxes (N, 4) around masks, in pixels."""
    return coco_mask.toBbox(list(masks)) if len(masks) else np.zeros((0, 4))


def mask_areas(masks: Sequence[dict[str, Any]]) -> np.ndarray:
    """Areas (N,) of RLEs, in pixels."""
    # NOTE: one by one, since pycocotools 2.0.11 with numpy 2 fails on lists of more than 255 masks.
    return np.array([coco_mask.area(mask) for mask in masks], float)


def match(
    pairs: Pairs,
    detection_group: np.ndarray,
    crowd: np.ndarray,
    counts: np.ndarray,
    thresholds: np.ndarray,
) -> Matches:
    """Match detections with objects as COCO does: the best score of a group chooses first.

    A detection takes the object that overlaps most, from the threshold on, among those that are
    still free (a crowd always is), the last one of equals; an object that does not count only where
    none counts. ``detection_group`` (D,) ascends, with falling scores within a group; ``crowd`` is
    (N,), ``counts`` (N, A).
    """
    rows = np.unique(pairs.detection)
    turn = rank_in_group(detection_group[rows])
    # All pairs by turn, detection, and ascending preference.
    slot = np.searchsorted(rows, pairs.detection)
    order = np.lexsort((pairs.object, pairs.overlap, slot, turn[slot]))
    slot, target, overlap = slot[order], pairs.object[order], pairs.overlap[order]

    shape = len(rows), len(thresholds), counts.shape[1]
    found, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    taken = np.full(len(rows), -1)
    free = np.ones((len(crowd), *shape[1:]), bool)
    reaches = overlap[:, None] >= thresholds  # (P, T)
    ends = np.searchsorted(turn[slot], np.arange(turn.max(initial=-1) + 1), "right")
    for begin, end in zip([0, *ends], ends):
        part, size = slice(begin, end), end - begin
        choice = target[part]
        eligible = free[choice] | crowd[choice, None, None]
        eligible &= reaches[part, :, None]
        # 1 .. size for objects that do not count, size + 1 .. 2 size for those that do
        preference = np.arange(1, size + 1)[:, None] + size * counts[choice]  # (pairs, A)
        key = eligible * preference[:, None, :]
        starts = np.flatnonzero(np.diff(slot[part], prepend=-1))
        best = np.maximum.reduceat(key, starts, axis=0)
        length = np.diff(starts, append=size)
        free[choice] &= ~(eligible & (key == np.repeat(best, length, axis=0)))
        who = slot[part][starts]
        found[who], ignored[who] = best > 0, (best > 0) & (best <= size)
        top = best[:, 0, 0]
        taken[who] = np.where(top > 0, choice[(top - 1) % size], -1)
    return Matches(rows, found, ignored, taken)
