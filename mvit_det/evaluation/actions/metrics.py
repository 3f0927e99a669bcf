"""Frame AP of actions, the metric of AVA.

A detection is a true positive if it overlaps a box of its action in its key frame with IoU >= 0.5
(see `matching`). The detections of an action in all key frames, sorted by falling score, give a
precision-recall curve; AP is the area below it, after precision was raised to the maximum at that
recall or beyond.

There are two modes. "official" is the scorer of the dataset (ActivityNet's get_ava_performance.py):
the 50 labelled boxes of the highest scores of a key frame count, the best one is matched first, and
detections at key frames that are not in the ground truth are ignored. "pyslowfast" is what
PySlowFast reports in its logs: all detections count, in the order of the rows, and those at other
key frames are false positives.

Letters: N labelled boxes of the truth, D detections, K actions, R points of recall.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mvit_det.ava_files import BoxTable
from mvit_det.evaluation.actions.matching import best_truth, true_positives
from mvit_det.evaluation.actions.ranking import Boxes, official_order

MODES = ("official", "pyslowfast")
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Prepared:
    """Ground truth and detections with a common numbering of key frames.

    Attributes:
        truth: boxes that count.
        found: detections that count.
        key_frames: number of key frames in the ground truth.
        left_out: reason -> number of detections that do not count, for the log.
    """

    truth: Boxes
    found: Boxes
    key_frames: int
    left_out: dict[str, int]


@dataclass(frozen=True)
class ActionScores:
    """The metric of each of the K actions, from 0 to 1; NaN for an action without ground truth.

    Attributes:
        class_ids: ids of the actions.
        ap: (K,) average precision.
        truth: (K,) number of labelled boxes of the ground truth.
        found: (K,) number of detections that count.
        right: (K,) number of true positives.
        precision: (K, R) at `RECALLS`, the maximum at that recall or beyond, 0 if the recall is not
            reached.
    """

    class_ids: Sequence[int]
    ap: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    right: np.ndarray
    precision: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over the actions that have ground truth; NaN if none has."""
        measured = self.ap[~np.isnan(self.ap)]
        return float(measured.mean()) if len(measured) else float("nan")


def prepare(
    truth: BoxTable,
    found: BoxTable,
    *,
    excluded: Collection[tuple[str, float]] = (),
    mode: str = "official",
) -> Prepared:
    """Assign numbers to the key frames of two tables, and drop those that do not count.

    A key frame is a video and a second, to 6 decimals. All key frames in the ground truth count,
    with boxes of any action or none.

    Args:
        truth: annotated boxes.
        found: detections.
        excluded: key frames (video, second) to drop from both tables.
        mode: one of `MODES`.
    """
    numbers: dict[tuple[str, float], int] = {}

    def numbered(frames: Collection[tuple[str, float]]) -> np.ndarray:
        found = [numbers.setdefault((name, round(at, 6)), len(numbers)) for name, at in frames]
        return np.array(found, int)

    ours, theirs = (
        np.repeat(numbered(frames), lengths) for frames, lengths in map(_runs, (truth, found))
    )
    banned = numbered(excluded)
    named = np.setdiff1d(np.append(ours, numbered(truth.empty)), banned)
    left_out = {"of excluded key frames": np.isin(theirs, banned)}
    if mode == "official":
        known = np.append(named, banned)
        left_out["at key frames that the ground truth does not name"] = ~np.isin(theirs, known)
    counts = {reason: int(np.count_nonzero(mask)) for reason, mask in left_out.items()}
    person = np.where(np.isnan(truth.score), 1.0, truth.score)
    return Prepared(
        _without(Boxes(ours, truth.box, truth.action, person), [np.isin(ours, banned)]),
        _without(Boxes(theirs, found.box, found.action, found.score), left_out.values()),
        len(named),
        {reason: count for reason, count in counts.items() if count},
    )


def _without(boxes: Boxes, masks: Collection[np.ndarray]) -> Boxes:
    mask = np.logical_or.reduce(list(masks))
    return boxes.rows(~mask) if mask.any() else boxes


def _runs(table: BoxTable) -> tuple[list[tuple[str, float]], np.ndarray]:
    """Return the (video, second) and the length of each run of rows of one key frame."""
    starts = np.ones(len(table), bool)
    starts[1:] = (np.diff(table.video) != 0) | (np.diff(table.second) != 0)
    first = np.flatnonzero(starts)
    names = [table.videos[number] for number in table.video[first].tolist()]
    return list(zip(names, table.second[first].tolist())), np.diff(first, append=len(table))


def frame_ap(
    truth: Boxes,
    found: Boxes,
    class_ids: Sequence[int],
    *,
    mode: str = "official",
    iou: float = 0.5,
) -> ActionScores:
    """Compute the metric; both sides number key frames alike.

    Rows with equal scores count in the order in which both scorers count them: see `ranking` for
    those of one key frame. Equal scores of one action in different key frames are in the order of
    NumPy's default sort, which is not stable and differs between processors.

    Args:
        truth: boxes of other actions than ``class_ids`` do not count.
        found: detections; those of other actions do not count.
        class_ids: action ids, from 1 on.
        mode: one of `MODES`.
        iou: minimum IoU of a true positive, above 0.
    """
    ids = np.unique(class_ids)
    truth, found = _of_classes(truth, ids), _of_classes(found, ids)
    positives = np.bincount(truth.action, minlength=len(ids))
    truth, found = _by_first_detection(truth, found)
    official = mode == "official"
    rows = official_order(found) if official else np.arange(len(found))
    rows = rows[(found.box[rows, :2] < found.box[rows, 2:]).all(axis=1)]
    # 16 bits, which NumPy sorts in linear time
    rows = rows[np.argsort(found.action[rows].astype(np.uint16), kind="stable")]
    counted = np.bincount(found.action[rows], minlength=len(ids))
    target = best_truth(truth, found.rows(rows), iou, official=official)
    right, score = true_positives(target), found.score[rows].astype(float)
    ap = np.full(len(ids), np.nan)
    precision = np.full((len(ids), len(RECALLS)), np.nan)
    ends = np.cumsum(counted)
    for k in np.flatnonzero(positives):
        part = slice(ends[k] - counted[k], ends[k])
        ap[k], precision[k] = _curve(score[part], right[part], positives[k])
    hits = np.bincount(found.action[rows[right]], minlength=len(ids))
    given = np.searchsorted(ids, class_ids)
    columns = (ap, positives, counted, hits, precision)
    return ActionScores(class_ids, *(column[given] for column in columns))


def _of_classes(boxes: Boxes, ids: np.ndarray) -> Boxes:
    """Keep the boxes of these actions, and replace their ids by indices into ``ids``."""
    index = np.full(ids[-1] + 2, -1)
    index[ids] = np.arange(len(ids))
    action = index[np.clip(boxes.action, 0, ids[-1] + 1)]
    boxes = replace(boxes, action=action)
    return boxes if (action >= 0).all() else boxes.rows(action >= 0)


def _by_first_detection(truth: Boxes, found: Boxes) -> tuple[Boxes, Boxes]:
    """Sort both sides by key frame, in the order of the first detection of each, stably.

    Boxes of the truth at key frames without detections are dropped, since they can match nothing.
    """
    first = np.full(1 + max(truth.frame.max(initial=-1), found.frame.max(initial=-1)), len(found))
    # Backwards, so that the first of several rows of a key frame is written last.
    first[found.frame[::-1]] = np.arange(len(found))[::-1]
    number = np.empty(len(first), int)
    number[np.argsort(first, kind="stable")] = np.arange(len(first))
    truth = truth.rows(first[truth.frame] < len(found))
    both = []
    for boxes in (truth, found):
        boxes = replace(boxes, frame=number[boxes.frame])
        if (np.diff(boxes.frame) < 0).any():
            boxes = boxes.rows(np.argsort(boxes.frame, kind="stable"))
        both.append(boxes)
    return both[0], both[1]


def _curve(score: np.ndarray, right: np.ndarray, positives: int) -> tuple[float, np.ndarray]:
    """Return AP, and precision at `RECALLS` (R,), of one action with ``positives`` boxes."""
    order = np.argsort(score)[::-1]
    places = np.flatnonzero(right[order])
    number = np.arange(1, len(places) + 1)
    # only at true positives, as recall rises nowhere else
    best = np.maximum.accumulate((number / (places + 1))[::-1])[::-1]
    needed = np.searchsorted(np.arange(positives + 1) / positives, RECALLS)
    precision = np.zeros(positives + 1)
    precision[1 : len(best) + 1] = best
    precision[0] = precision[1]
    return best.sum() / positives, precision[needed]
