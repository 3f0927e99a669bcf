"""COCO's average precision and recall, in whole-array steps: numbers in, numbers out.

Defined at https://cocodataset.org/#detection-eval. A detection finds an object of its class when
they overlap by at least a threshold; detections of all images together, in the order of their
scores, then give a curve of precision over recall, of which AP is the mean.

Letters: T thresholds of the overlap, R points of recall, K classes, A ranges of area, M limits of
detections per image and class.
"""

from dataclasses import dataclass

import numpy as np

from mvit_det.evaluation.detection.matching import (
    Detections,
    Matches,
    Objects,
    groups,
    match,
    overlapping_pairs,
    rank_in_group,
)

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
# in square pixels, both ends included
AREAS = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
LIMITS = (1, 10, 100)
# metric -> (index into T or None for all, area, limit)
_PRECISIONS = {
    "AP": (None, "all", 100),
    "AP50": (0, "all", 100),
    "AP75": (5, "all", 100),
    "APs": (None, "small", 100),
    "APm": (None, "medium", 100),
    "APl": (None, "large", 100),
}
_RECALLS = {
    "AR1": ("all", 1),
    "AR10": ("all", 10),
    "AR100": ("all", 100),
    "ARs": ("small", 100),
    "ARm": ("medium", 100),
    "ARl": ("large", 100),
}
METRICS = (*_PRECISIONS, *_RECALLS)


@dataclass(frozen=True)
class CocoScores:
    """The metric before it is averaged; -1 where a class has no object of that area.

    precision: (T, R, K, A, M), the best precision at that recall or beyond, 0 where the recall is
    not reached. scores: of the same shape, the score that reaches the recall. recall: (T, K, A, M),
    of all detections. found: per detection, in the order in which they were given, the row of the
    object that it finds at the lowest threshold, or -1.
    """

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray
    found: np.ndarray

    def summary(self) -> dict[str, float]:
        """The 12 numbers of COCO's table in percent; NaN where there is nothing to measure."""
        result, areas = {}, list(AREAS)
        for name, (threshold, area, limit) in _PRECISIONS.items():
            part = self.precision[..., areas.index(area), LIMITS.index(limit)]
            result[name] = percent(part if threshold is None else part[threshold])
        for name, (area, limit) in _RECALLS.items():
            result[name] = percent(self.recall[..., areas.index(area), LIMITS.index(limit)])
        return result

    def by_class(self) -> list[float]:
        """AP of each class in percent; NaN for a class without objects."""
        return [percent(self.precision[:, :, k, 0, -1]) for k in range(self.precision.shape[2])]

    def curves(self) -> np.ndarray:
        """Precision (T, R, K) over `RECALLS`, of all areas; NaN for classes without objects."""
        precision = self.precision[..., 0, -1]
        return np.where(precision < 0, np.nan, precision)


def percent(values: np.ndarray) -> float:
    """The mean of what is defined (not -1), in percent; NaN where nothing is."""
    values = values[values > -1]
    return float(values.mean() * 100) if values.size else float("nan")


def measure(objects: Objects, detections: Detections, num_classes: int) -> CocoScores:
    """Compute the metric: of masks where both sides have some, else of boxes.

    Images and classes are numbered from 0 in the order of their ids: among equal scores the order
    of images counts, then the order in which the detections are given.
    """
    object_order = np.argsort(groups(objects, num_classes), kind="stable")
    objects = objects.rows(object_order)
    # By image and class, the best first; of each only as many as the largest limit.
    order = np.lexsort((-detections.score, groups(detections, num_classes)))
    rank = rank_in_group(groups(detections, num_classes)[order])
    order, rank = order[rank < LIMITS[-1]], rank[rank < LIMITS[-1]]
    total = len(detections)
    detections = detections.rows(order)

    group = groups(detections, num_classes)
    pairs = overlapping_pairs(
        detections, objects, group, groups(objects, num_classes), THRESHOLDS[0]
    )
    counts = _in_range(objects.area) & ~objects.crowd[:, None]
    matches = match(pairs, group, objects.crowd, counts, THRESHOLDS)

    found = np.full(total, -1)
    hit = matches.object >= 0
    found[order[matches.detection[hit]]] = object_order[matches.object[hit]]
    positives = np.zeros((num_classes, len(AREAS)), int)
    np.add.at(positives, objects.label, counts)
    return CocoScores(*_accumulate(detections, rank, matches, positives), found)


def _in_range(area: np.ndarray) -> np.ndarray:
    """(N,) areas -> (N, A), whether each is in each range."""
    low, high = np.array(list(AREAS.values())).T
    return (area[:, None] >= low) & (area[:, None] <= high)


def _accumulate(
    detections: Detections, rank: np.ndarray, matches: Matches, positives: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and scores of `CocoScores`; ``positives`` (K, A) objects count."""
    num_classes = len(positives)
    shape = len(THRESHOLDS), len(RECALLS), num_classes, len(AREAS), len(LIMITS)
    precision, scores = -np.ones(shape), -np.ones(shape)
    recall = -np.ones((shape[0], *shape[2:]))
    # All images together: by class, the best score first.
    order = np.lexsort((-detections.score, detections.label))
    score, rank = detections.score[order], rank[order]
    in_range = _in_range(detections.area[order])
    slot = np.full(len(order), -1)
    slot[matches.detection] = np.arange(len(matches.detection))
    slot = slot[order]
    ends = np.searchsorted(detections.label[order], np.arange(num_classes), "right")
    for k, (begin, end) in enumerate(zip([0, *ends], ends)):
        for a in np.flatnonzero(positives[k]):
            for m, limit in enumerate(LIMITS):
                few = begin + np.flatnonzero(rank[begin:end] < limit)
                rows = np.flatnonzero(slot[few] >= 0)
                chosen = slot[few[rows]]
                ours = _curve(
                    score[few],
                    in_range[few, a],
                    rows,
                    matches.found[chosen, :, a],
                    matches.ignored[chosen, :, a],
                    positives[k, a],
                )
                precision[:, :, k, a, m], scores[:, :, k, a, m], recall[:, k, a, m] = ours
    return precision, recall, scores


def _curve(
    score: np.ndarray,
    in_range: np.ndarray,
    rows: np.ndarray,
    found: np.ndarray,
    ignored: np.ndarray,
    positives: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision (T, R), scores (T, R) and recall (T,) of one class, area and limit.

    ``score`` (n,) falls and ``in_range`` (n,) says which detections count where they find nothing.
    At ``rows`` are those that overlap an object, with their ``found`` and ``ignored`` (rows, T).
    Precision is needed only where recall rises, so that nothing of size (n, T) is made.
    """
    base = in_range[rows, None]
    counted = np.where(found, ~ignored, base)
    # detections that count, up to and with each of the rows
    seen = np.cumsum(in_range)[rows, None] + np.cumsum(counted.astype(int) - base, axis=0)
    right = found & ~ignored
    number = np.cumsum(right, axis=0)
    at_row, at_threshold = np.nonzero(right)
    number_there = number[at_row, at_threshold]
    # Row i holds the precision, and the score, of the i-th right detection. The first one of all
    # has recall 0 at least, and its score stands there, whatever it is.
    best = np.zeros((positives + 1, len(THRESHOLDS)))
    needed_score = np.zeros_like(best)
    # The tiny number is part of the metric's definition: 1 of 1 is a little less than 1.
    best[number_there, at_threshold] = number_there / (seen[at_row, at_threshold] + np.spacing(1))
    needed_score[number_there, at_threshold] = score[rows[at_row]]
    needed_score[0] = score[0] if len(score) else 0
    best = np.maximum.accumulate(best[::-1], axis=0)[::-1]
    needed = np.searchsorted(np.arange(positives + 1) / positives, RECALLS)
    return best[needed].T, needed_score[needed].T, right.sum(axis=0) / positives
