"""Confusion matrix of a detector, and detections that contradict the annotations."""

from typing import Any

import numpy as np
from hotcoco import COCOeval

from mvit_det.evaluation.detection.files import CocoTruth, Detections

# IoU of the boxes from which a detection matches an object
OVERLAP = 0.5
# detections of a lower score are not counted; the same threshold as in the pictures
MIN_SCORE = 0.5
# score from which detections are listed as contradictions
_CERTAIN = 0.8


def confusion_matrix(
    truth: CocoTruth, found: Detections
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Count pairs of true class and predicted class, and list annotations that look wrong.

    Detections are matched by falling score, first with objects of their own class, as for the
    metric; the rest of both sides is then matched across classes.

    NOTE: hotcoco's confusion matrix is not used: it matches all classes at once, so that it
    confuses a rider with the horse where both are detected, and counts detections on a crowd as
    false. Its matching runs twice here instead.

    Returns:
        (K + 1, K + 1) counts, true classes in rows; the last row counts false detections, the last
        column missed objects; detections on a crowd do not count. And the detections of a high
        score that match no object, or one of another class: dicts with the ids of the file, by
        falling score.
    """
    rows = np.flatnonzero(found.score >= MIN_SCORE)
    own = _matched(truth, truth.objects, found, rows, use_cats=True)
    left = [one for one in truth.objects if own["gt_status"].get(one["id"]) != "matched"]
    # detections on a crowd have no status
    wrong = rows[[d - 1 for d, status in sorted(own["dt_status"].items()) if status == "fp"]]
    across = _matched(truth, left, found, wrong, use_cats=False)

    matrix = np.zeros((len(truth.names) + 1,) * 2, int)
    label = [one["category_id"] for one in truth.objects]
    for part, chosen in ((own, rows), (across, wrong)):
        for detection, one in part["dt_match"].items():
            matrix[label[one - 1], found.label[chosen[detection - 1]]] += 1
    for detection, status in across["dt_status"].items():
        matrix[-1, found.label[wrong[detection - 1]]] += status == "fp"
    for one, status in across["gt_status"].items():
        matrix[label[one - 1], -1] += status == "fn"
    off_crowds = {wrong[detection - 1] for detection in across["dt_status"]}
    suspects = {rows[each["dt_id"] - 1]: each for each in own["label_errors"]}
    listed = sorted(off_crowds & suspects.keys(), key=lambda row: -found.score[row])
    return matrix, [_contradiction(truth, found, row, suspects[row]) for row in listed]


def _matched(
    truth: CocoTruth, objects: list[dict], found: Detections, rows: np.ndarray, use_cats: bool
) -> dict[str, Any]:
    """Return hotcoco's diagnostics of objects, by id, and of the given detections, from 1 on."""
    ground_truth = truth.coco(objects)
    evaluation = COCOeval(ground_truth, ground_truth.load_res(found.table(rows)), "bbox")
    evaluation.params.iou_thrs = [OVERLAP]
    evaluation.params.use_cats = use_cats
    evaluation.params.max_dets = [max(1, len(rows))]
    evaluation.evaluate()
    return evaluation.image_diagnostics(iou_thr=OVERLAP, score_thr=_CERTAIN)


def _contradiction(
    truth: CocoTruth, found: Detections, row: int, suspect: dict[str, Any]
) -> dict[str, Any]:
    other = suspect["gt_category_id"]
    return dict(
        image_id=truth.image_ids[found.image[row]],
        bbox=found.box[row].round(2).tolist(),
        score=float(found.score[row]),
        detected=truth.names[found.label[row]],
        annotated=None if other is None else truth.names[other],
    )
