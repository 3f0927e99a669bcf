"""Confusion matrix of a detector, and confident detections that contradict the annotations."""

from typing import Any

import numpy as np
from hotcoco import COCOeval

from mvit_det.evaluation.detection.files import CocoTruth, Detections

# minimum IoU of a detection and the object it matches
OVERLAP = 0.5
# minimum score of a detection that is counted; the same as in the pictures
MIN_SCORE = 0.5
# minimum score of a detection that is listed as a contradiction
_CONFIDENT = 0.8


def confusion_matrix(
    truth: CocoTruth, detections: Detections
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Count pairs of true class and predicted class, and list annotations that look wrong.

    Detections with a score of at least `MIN_SCORE` are matched in descending order of score, by an
    IoU of at least 0.5, first with objects of the same class, as for the metric; then the unmatched
    detections and objects are matched across classes.

    NOTE: hotcoco's confusion matrix is not used: it matches all classes at once, so that it
    confuses a rider with the horse where both are detected, and counts detections on a crowd as
    false. Its matching runs twice here instead.

    Returns:
        (K + 1, K + 1) int counts for K classes, true classes in rows; the last row counts false
        detections, the last column missed objects; detections on a crowd do not count. And the
        detections of score 0.8 or more that match no object, or one of another class, in descending
        order of score: dicts with "image_id", "bbox" (x, y, width, height in pixels), "score",
        "detected" and "annotated" (class names, the latter None if there is no object).
    """
    rows = np.flatnonzero(detections.score >= MIN_SCORE)
    within = _match(truth, truth.objects, detections, rows, use_cats=True)
    missed = [item for item in truth.objects if within["gt_status"].get(item["id"]) != "matched"]
    # detections on a crowd have no status
    wrong = rows[[d - 1 for d, status in sorted(within["dt_status"].items()) if status == "fp"]]
    across = _match(truth, missed, detections, wrong, use_cats=False)

    matrix = np.zeros((len(truth.names) + 1,) * 2, int)
    label = [item["category_id"] for item in truth.objects]
    for matches, matched_rows in ((within, rows), (across, wrong)):
        for detection, target in matches["dt_match"].items():
            matrix[label[target - 1], detections.label[matched_rows[detection - 1]]] += 1
    for detection, status in across["dt_status"].items():
        matrix[-1, detections.label[wrong[detection - 1]]] += status == "fp"
    for target, status in across["gt_status"].items():
        matrix[label[target - 1], -1] += status == "fn"
    off_crowds = {wrong[detection - 1] for detection in across["dt_status"]}
    suspects = {rows[error["dt_id"] - 1]: error for error in within["label_errors"]}
    contradictory = sorted(off_crowds & suspects.keys(), key=lambda row: -detections.score[row])
    return matrix, [_contradiction(truth, detections, row, suspects[row]) for row in contradictory]


def _match(
    truth: CocoTruth, objects: list[dict], detections: Detections, rows: np.ndarray, use_cats: bool
) -> dict[str, Any]:
    """Return hotcoco's diagnostics: by id of each object, and by number (from 1) of each row."""
    ground_truth = truth.coco(objects)
    evaluation = COCOeval(ground_truth, ground_truth.load_res(detections.table(rows)), "bbox")
    evaluation.params.iou_thrs = [OVERLAP]
    evaluation.params.use_cats = use_cats
    evaluation.params.max_dets = [max(1, len(rows))]
    evaluation.evaluate()
    return evaluation.image_diagnostics(iou_thr=OVERLAP, score_thr=_CONFIDENT)


def _contradiction(
    truth: CocoTruth, detections: Detections, row: int, suspect: dict[str, Any]
) -> dict[str, Any]:
    """Describe one detection by the ids and names of the annotation file."""
    annotated = suspect["gt_category_id"]
    return dict(
        image_id=truth.image_ids[detections.image[row]],
        bbox=detections.box[row].round(2).tolist(),
        score=float(detections.score[row]),
        detected=truth.names[detections.label[row]],
        annotated=None if annotated is None else truth.names[annotated],
    )
