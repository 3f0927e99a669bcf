"""Report detections: metrics, tables in the log, pictures, and an error analysis."""

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mvit_det.evaluation.detection.confusion import MIN_SCORE, OVERLAP, confusion_matrix
from mvit_det.evaluation.detection.files import CocoTruth, Detections
from mvit_det.evaluation.detection.metrics import METRICS, CocoScores, measure
from mvit_det.evaluation.detection.plots import TITLES, draw_confusion, draw_precision_recall
from mvit_det.evaluation.tables import class_table, in_percent
from mvit_det.evaluation.writing import numbers_first, write_whole

logger = logging.getLogger(__name__)

# TIDE's kinds of errors in words
_ERRORS = {
    "Cls": "wrong class",
    "Loc": "wrong place",
    "Both": "both wrong",
    "Dupe": "duplicate",
    "Bkg": "background",
    "Miss": "missed",
    "FP": "all false detections",
    "FN": "all missed objects",
}


def report(
    truth: CocoTruth, found: Detections, names: Sequence[str], folder: str | os.PathLike | None
) -> dict[str, dict[str, float]]:
    """Compute the metrics, log the tables, and draw into ``folder``/pictures.

    ``folder``/error_analysis.json gets ``ap50_lost`` by TIDE's kinds of errors, in percent, and
    ``contradictions``, the detections that put the annotations in doubt.

    Args:
        truth: the annotation file.
        found: detections.
        names: of the classes, by ascending category id.
        folder: to write to; None to write nothing.

    Returns:
        By task ("bbox", and "segm" if there are masks), the 12 COCO metrics and "AP-<name>" of each
        class (if there are several), in percent; NaN if there is nothing to measure.
    """
    if not len(found):
        logger.warning("The model detects nothing at all.")
    tasks = ["bbox"] if found.masks is None else ["bbox", "segm"]
    scores = {task: measure(truth, found, task) for task in tasks}
    results = {task: dict(score.summary) for task, score in scores.items()}
    if len(names) > 1:
        for task, score in scores.items():
            results[task].update((f"AP-{name}", ap) for name, ap in zip(names, score.by_class()))
    _log(truth, scores, names)
    if folder is not None:
        _write(Path(folder), truth, found, scores, names)
    return results


def _log(truth: CocoTruth, scores: dict[str, CocoScores], names: Sequence[str]) -> None:
    """Log a table of the averages, one of what costs AP, and one of the classes."""
    rows = [[TITLES[task], *score.summary.values()] for task, score in scores.items()]
    table = in_percent(["percent", *METRICS], rows)
    logger.info("COCO metrics (nan: nothing to measure):\n%s", table)
    errors = [scores["bbox"].errors[kind] for kind in _ERRORS]
    table = in_percent(["percent", *_ERRORS.values()], [["boxes", *errors]])
    logger.info("AP50 that each kind of error costs (TIDE):\n%s", table)
    if len(names) == 1:
        return
    objects = Counter(one["category_id"] for one in truth.objects if not one["iscrowd"])
    counts = [objects[label] for label in range(len(names))]
    rows = list(zip(names, counts, *(score.by_class() for score in scores.values())))
    head = ["class", "objects", *(f"{TITLES[task]} AP" for task in scores)]
    logger.info("AP by class, in percent:\n%s", class_table(head, rows))


def _write(
    folder: Path,
    truth: CocoTruth,
    found: Detections,
    scores: dict[str, CocoScores],
    names: Sequence[str],
) -> None:
    matrix, contradictions = confusion_matrix(truth, found)
    pictures = folder / "pictures"
    with numbers_first("Curves and confusion matrix", pictures):
        draw_precision_recall(pictures / "precision_recall.png", scores, names)
        path = pictures / "confusion.png"
        draw_confusion(path, matrix, names, overlap=OVERLAP, min_score=MIN_SCORE)
    path = folder / "error_analysis.json"
    what = f"Errors, and {len(contradictions)} sure detections that contradict the annotations"
    with numbers_first(what, path):
        analysis = dict(ap50_lost=scores["bbox"].errors, contradictions=contradictions)
        write_whole(path, json.dumps(analysis, indent=1) + "\n")
