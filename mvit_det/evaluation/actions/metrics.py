"""Frame AP of actions, the metric of AVA.

A detection is a true positive if it overlaps a box of its action in its key frame with IoU >= 0.5
(see `matching`). The detections of an action in all key frames, sorted by descending score, give a
precision-recall curve; AP is the area below it, with the precision at each recall replaced by the
maximum precision at that recall or beyond.

There are two modes. "official" is the scorer of the dataset (ActivityNet's get_ava_performance.py):
the 50 labelled boxes of the highest scores of a key frame count, the best one is matched first, and
detections at key frames that are not in the ground truth are ignored. "pyslowfast" is what
PySlowFast reports in its logs (slowfast/utils/ava_eval_helper.py): all detections count, in the
order of the rows, and those at other key frames are false positives.

Legend: N labelled boxes of the truth, D detections, K actions, R points of recall.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mvit_det.ava_files import BoxTable
from mvit_det.evaluation.actions.matching import best_truth, true_positives
from mvit_det.evaluation.actions.ranking import ActionBoxes, official_order

MODES = ("official", "pyslowfast")
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Prepared:
    """Ground truth and detections with a common numbering of key frames.

    Attributes:
        truth: boxes that are evaluated.
        found: detections that are evaluated.
        key_frames: number of key frames in the ground truth.
        left_out: reason -> number of detections that are left out, for the log.
    """

    truth: ActionBoxes
    found: ActionBoxes
    key_frames: int
    left_out: dict[str, int]


@dataclass(frozen=True)
class ActionScores:
    """AP of each of K actions, from 0 to 1; NaN for an action without ground truth.

    Attributes:
        class_ids: ids of the actions.
        ap: (K,) average precision.
        truth: (K,) number of labelled boxes of the ground truth.
        found: (K,) number of detections that count.
        true_positives: (K,) number of them that match.
        precision: (K, R) from 0 to 1 at `RECALLS`, the maximum at that recall or beyond; 0 if the
            recall is not reached.
    """

    class_ids: Sequence[int]
    ap: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    true_positives: np.ndarray
    precision: np.ndarray

    @property
    def mean(self) -> float:
        """Frame mAP: the mean over actions with ground truth; NaN without any."""
        finite = self.ap[~np.isnan(self.ap)]
        return float(finite.mean()) if len(finite) else float("nan")


def prepare(
    truth: BoxTable,
    found: BoxTable,
    *,
    excluded: Collection[tuple[str, float]] = (),
    mode: str = "official",
) -> Prepared:
    """Assign numbers to the key frames of two tables, and drop those that are not evaluated.

    A key frame is a video and a second, to 6 decimals. All key frames of the ground truth are
    evaluated, with boxes of any action or none.

    Args:
        truth: annotated boxes.
        found: detections.
        excluded: key frames (video, second) to drop from both tables.
        mode: one of `MODES`.
    """
    numbers: dict[tuple[str, float], int] = {}

    def to_numbers(frames: Collection[tuple[str, float]]) -> np.ndarray:
        keys = [(name, round(second, 6)) for name, second in frames]
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], int)

    truth_frames, found_frames = (
        np.repeat(to_numbers(frames), lengths) for frames, lengths in map(_runs, (truth, found))
    )
    dropped = to_numbers(excluded)
    listed = np.setdiff1d(np.append(truth_frames, to_numbers(truth.empty)), dropped)
    left_out = {"of excluded key frames": np.isin(found_frames, dropped)}
    if mode == "official":
        unlisted = ~np.isin(found_frames, np.append(listed, dropped))
        left_out["at key frames that the ground truth does not list"] = unlisted
    counts = {reason: int(np.count_nonzero(mask)) for reason, mask in left_out.items()}
    person = np.where(np.isnan(truth.score), 1.0, truth.score)
    truth_boxes = ActionBoxes(truth_frames, truth.box, truth.action, person)
    found_boxes = ActionBoxes(found_frames, found.box, found.action, found.score)
    return Prepared(
        _drop_rows(truth_boxes, [np.isin(truth_frames, dropped)]),
        _drop_rows(found_boxes, left_out.values()),
        len(listed),
        {reason: count for reason, count in counts.items() if count},
    )


def _drop_rows(boxes: ActionBoxes, masks: Collection[np.ndarray]) -> ActionBoxes:
    """Drop the rows that are True in any of some masks (N,)."""
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
    truth: ActionBoxes,
    found: ActionBoxes,
    class_ids: Sequence[int],
    *,
    mode: str = "official",
    iou: float = 0.5,
) -> ActionScores:
    """Compute AP by action; the ``frame`` of both sides uses the same numbers (`prepare`).

    Rows with equal scores have the same order as in the original scorers: see `ranking` for those
    of one key frame. Equal scores of one action in different key frames are in the order of NumPy's
    default sort, which is not stable and differs between processors.

    Args:
        truth: boxes; those of other actions than ``class_ids`` are ignored.
        found: detections; those of other actions are ignored.
        class_ids: the K action ids, at least 1.
        mode: one of `MODES`.
        iou: minimum IoU of a true positive, above 0.
    """
    ids = np.unique(class_ids)
    truth, found = _select_classes(truth, ids), _select_classes(found, ids)
    positives = np.bincount(truth.action, minlength=len(ids))
    truth, found = _sort_key_frames(truth, found)
    official = mode == "official"
    rows = official_order(found) if official else np.arange(len(found))
    rows = rows[(found.box[rows, :2] < found.box[rows, 2:]).all(axis=1)]
    # 16 bits, which NumPy sorts in linear time
    rows = rows[np.argsort(found.action[rows].astype(np.uint16), kind="stable")]
    counted = np.bincount(found.action[rows], minlength=len(ids))
    target = best_truth(truth, found.rows(rows), iou, official=official)
    correct, score = true_positives(target), found.score[rows].astype(float)
    ap = np.full(len(ids), np.nan)
    precision = np.full((len(ids), len(RECALLS)), np.nan)
    ends = np.cumsum(counted)
    for k in np.flatnonzero(positives):
        part = slice(ends[k] - counted[k], ends[k])
        ap[k], precision[k] = _ap_curve(score[part], correct[part], positives[k])
    hits = np.bincount(found.action[rows[correct]], minlength=len(ids))
    order = np.searchsorted(ids, class_ids)
    columns = (ap, positives, counted, hits, precision)
    return ActionScores(class_ids, *(column[order] for column in columns))


def _select_classes(boxes: ActionBoxes, ids: np.ndarray) -> ActionBoxes:
    """Keep the boxes of the actions ``ids``, sorted, and replace ids by indices into them."""
    index = np.full(ids[-1] + 2, -1)
    index[ids] = np.arange(len(ids))
    action = index[np.clip(boxes.action, 0, ids[-1] + 1)]
    boxes = replace(boxes, action=action)
    return boxes if (action >= 0).all() else boxes.rows(action >= 0)


def _sort_key_frames(truth: ActionBoxes, found: ActionBoxes) -> tuple[ActionBoxes, ActionBoxes]:
    """Sort both sides stably by key frame, in the order of its first detection.

    Boxes of the truth at key frames without detections are dropped, since they can match nothing.
    """
    first = np.full(1 + max(truth.frame.max(initial=-1), found.frame.max(initial=-1)), len(found))
    # backwards, so that the first of several rows of a key frame is written last
    first[found.frame[::-1]] = np.arange(len(found))[::-1]
    number = np.empty(len(first), int)
    number[np.argsort(first, kind="stable")] = np.arange(len(first))
    truth = truth.rows(first[truth.frame] < len(found))
    result = []
    for boxes in (truth, found):
        boxes = replace(boxes, frame=number[boxes.frame])
        if (np.diff(boxes.frame) < 0).any():
            boxes = boxes.rows(np.argsort(boxes.frame, kind="stable"))
        result.append(boxes)
    return result[0], result[1]


def _ap_curve(score: np.ndarray, correct: np.ndarray, positives: int) -> tuple[float, np.ndarray]:
    """Return AP, and precision at `RECALLS` (R,), of one action with ``positives`` boxes.

    Args:
        score: (D,) of the detections.
        correct: (D,) whether a detection is a true positive.
        positives: number of boxes in the ground truth.
    """
    order = np.argsort(score)[::-1]
    ranks = np.flatnonzero(correct[order])
    number = np.arange(1, len(ranks) + 1)
    # only at true positives, since recall rises only there
    best = np.maximum.accumulate((number / (ranks + 1))[::-1])[::-1]
    needed = np.searchsorted(np.arange(positives + 1) / positives, RECALLS)
    precision = np.zeros(positives + 1)
    precision[1 : len(best) + 1] = best
    precision[0] = precision[1]
    return best.sum() / positives, precision[needed]
