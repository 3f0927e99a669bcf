"""Which classes a detector takes for which: a confusion matrix of objects and detections."""

from dataclasses import replace

import numpy as np

from mvit_det.evaluation.detection.matching import (
    Detections,
    Objects,
    groups,
    match,
    overlapping_pairs,
)

# of the boxes; a detection of less overlap has found nothing
OVERLAP = 0.5


def confusion_matrix(
    objects: Objects, detections: Detections, found: np.ndarray, num_classes: int
) -> np.ndarray:
    """Count (K + 1, K + 1) pairs of true class (rows) and predicted class (columns).

    First each detection has the object of its own class that the metric gives it (``found``: per
    detection a row of ``objects``, or -1). What is left on both sides is then matched across
    classes, the best score first. The last row counts detections that find no object, the last
    column objects that nobody finds. Detections on a crowd count nowhere.

    The caller drops the detections of low scores, from both ``detections`` and ``found``: that
    changes nothing for the others, since the best scores choose first.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), int)
    hits = found[found >= 0]
    real = ~objects.crowd[hits]
    np.add.at(matrix, (objects.label[hits[real]], objects.label[hits[real]]), 1)

    free = ~np.isin(np.arange(len(objects)), hits) | objects.crowd
    objects, detections = objects.rows(free), detections.rows(found < 0)
    which = _match_across_classes(objects, detections)
    matched = which >= 0
    predicted, true = detections.label[matched], which[matched]
    real = ~objects.crowd[true]
    np.add.at(matrix, (objects.label[true[real]], predicted[real]), 1)
    np.add.at(matrix[-1], detections.label[~matched], 1)
    missed = ~np.isin(np.arange(len(objects)), true) & ~objects.crowd
    np.add.at(matrix[:, -1], objects.label[missed], 1)
    return matrix


def _match_across_classes(objects: Objects, detections: Detections) -> np.ndarray:
    """Row of the object that each detection overlaps best, -1 for none; one each but for crowds."""
    object_order = np.argsort(objects.image, kind="stable")
    order = np.lexsort((-detections.score, detections.image))
    # as if there were one class, and boxes alone
    one_class = [
        replace(table.rows(rows), label=np.zeros(len(rows), int), masks=None)
        for table, rows in ((objects, object_order), (detections, order))
    ]
    objects, detections = one_class
    group = groups(detections, 1)
    pairs = overlapping_pairs(detections, objects, group, groups(objects, 1), OVERLAP)
    matches = match(
        pairs, group, objects.crowd, ~objects.crowd[:, None], thresholds=np.array([OVERLAP])
    )
    result = np.full(len(detections), -1)
    hit = matches.object >= 0
    result[order[matches.detection[hit]]] = object_order[matches.object[hit]]
    return result
