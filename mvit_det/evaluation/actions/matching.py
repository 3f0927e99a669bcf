"""Match each detection to the box of the ground truth with the highest IoU, of the same action.

Within a key frame and an action, a detection is a true positive if its IoU with that box is large
enough and no earlier detection has matched the same box; it never takes the second best box. So
detections depend on each other only through their order, and all are matched at once.

Legend: N labelled boxes of the ground truth, D detections, P pairs of a box and a detection in the
same key frame and of the same action.
"""

import numpy as np

from mvit_det.evaluation.actions.ranking import ActionBoxes, official_entries, rank_in_group


def boxes_overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the IoU (P,), from 0 to 1, of box pairs (P, 4) and (P, 4) as x1, y1, x2, y2.

    It is 0 without a common area, and for boxes with x2 <= x1 or y2 <= y1.
    """
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    sides = np.maximum(high - low, 0)
    common = sides[:, 0] * sides[:, 1]
    area1, area2 = (np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (first, second))
    # NOTE: keep this order of operations; at an IoU of exactly the threshold the last bit decides.
    return np.divide(common, area1 + area2 - common, out=np.zeros(len(common)), where=common > 0)


def best_truth(truth: ActionBoxes, found: ActionBoxes, iou: float, *, official: bool) -> np.ndarray:
    """Return for each detection the row of the truth with the highest IoU, -1 below ``iou``: (D,).

    Among equal IoUs the first box counts, in the order of ``truth`` or in that of the official
    scorer.

    Args:
        truth: boxes whose ``frame`` ascends.
        found: detections, in any order.
        iou: threshold, above 0.
        official: use the official scorer's order.
    """
    frames = 1 + max(truth.frame.max(initial=-1), found.frame.max(initial=-1))
    order = np.argsort(truth.action * frames + truth.frame, kind="stable")
    truth_keys = (truth.action * frames + truth.frame)[order]
    found_keys = found.action * frames + found.frame
    first = np.searchsorted(truth_keys, found_keys, "left")
    count = np.searchsorted(truth_keys, found_keys, "right") - first
    # before expanding to pairs, since most detections have no box of their action in the key frame
    rows = np.flatnonzero(count)
    detection = np.repeat(rows, count[rows])
    target = order[first[detection] + rank_in_group(detection)]
    overlap = boxes_overlap(
        found.box[detection].astype(float, copy=False), truth.box[target].astype(float, copy=False)
    )
    enough = overlap >= iou
    detection, target, overlap = detection[enough], target[enough], overlap[enough]
    starts = np.flatnonzero(np.diff(detection, prepend=-1))
    most = np.maximum.reduceat(overlap, starts) if len(starts) else overlap
    best = overlap == np.repeat(most, np.diff(starts, append=len(detection)))
    detection, target = detection[best], target[best]
    if official:
        preferred = np.lexsort((_official_rank(truth, detection, target)[target], detection))
        detection, target = detection[preferred], target[preferred]
    result = np.full(len(found), -1)
    first = np.flatnonzero(np.diff(detection, prepend=-1))
    result[detection[first]] = target[first]
    return result


def _official_rank(truth: ActionBoxes, detection: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the rank (N,) of each box of the truth in its key frame, in the official order.

    Args:
        truth: boxes whose ``frame`` ascends.
        detection: (P,) sorted; ranks are computed only where a detection has several targets.
        target: (P,) rows of the truth with equal IoU.
    """
    rank = np.zeros(len(truth), int)
    for frame in np.unique(truth.frame[target[rank_in_group(detection) > 0]]):
        rows = slice(*np.searchsorted(truth.frame, (frame, frame + 1)))
        entries = truth.rows(rows).entries()
        order = official_entries(entries)
        rank[rows] = [order.index(entry) for entry in entries]
    return rank


def true_positives(target: np.ndarray) -> np.ndarray:
    """Return a mask (D,): True for the first detection of each target; -1 is not a target."""
    rows = np.flatnonzero(target >= 0)
    _, first = np.unique(target[rows], return_index=True)
    result = np.zeros(len(target), bool)
    result[rows[first]] = True
    return result
