"""From columns to what a reader looks at: numbers, tables in the log, and pictures."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mvit_det.evaluation.detection.confusion import OVERLAP, confusion_matrix
from mvit_det.evaluation.detection.files import CocoTruth
from mvit_det.evaluation.detection.matching import Detections
from mvit_det.evaluation.detection.metrics import METRICS, CocoScores, measure
from mvit_det.evaluation.detection.plots import TITLES, draw_confusion, draw_precision_recall
from mvit_det.evaluation.tables import class_table, in_percent

logger = logging.getLogger(__name__)

# Detections of a lower score are not in the confusion matrix; that of the pictures of predictions.
_MIN_SCORE = 0.5


def report(
    truth: CocoTruth,
    detections: dict[str, Detections],
    names: Sequence[str],
    folder: str | os.PathLike | None,
) -> dict[str, dict[str, float]]:
    """Measure, log the tables, and draw into ``folder``/pictures (where a folder is given).

    Args:
        detections: by task, "bbox" and where there are masks "segm".
        names: of the classes, by ascending category id.

    Returns:
        By task, the 12 numbers and "AP-<name>" of each class (where there is more than one), in
        percent; NaN where there is nothing to measure.
    """
    scores = {}
    for task, found in detections.items():
        objects = truth.with_masks() if task == "segm" else truth.objects
        scores[task] = measure(objects, found, len(names))
        if not len(found):
            logger.warning("%s: the model detects nothing at all.", task)
    results = {task: _numbers(score, names) for task, score in scores.items()}
    _log(truth, results, scores, names)
    if folder is not None:
        _draw(Path(folder) / "pictures", truth, detections["bbox"], scores, names)
    return results


def _numbers(score: CocoScores, names: Sequence[str]) -> dict[str, float]:
    numbers = score.summary()
    if len(names) > 1:
        numbers.update({f"AP-{name}": ap for name, ap in zip(names, score.by_class())})
    return numbers


def _log(
    truth: CocoTruth,
    results: dict[str, dict[str, float]],
    scores: dict[str, CocoScores],
    names: Sequence[str],
) -> None:
    """One table of the averages, and one of the classes."""
    rows = [[TITLES[task], *(numbers[m] for m in METRICS)] for task, numbers in results.items()]
    table = in_percent(["percent", *METRICS], rows)
    logger.info("COCO metrics (nan: nothing to measure):\n%s", table)
    if len(names) == 1:
        return
    objects = np.bincount(truth.objects.label[~truth.objects.crowd], minlength=len(names))
    columns = [score.by_class() for score in scores.values()]
    rows = list(zip(names, objects.tolist(), *columns))
    head = ["class", "objects", *(f"{TITLES[task]} AP" for task in results)]
    logger.info("AP by class, in percent:\n%s", class_table(head, rows))


def _draw(
    folder: Path,
    truth: CocoTruth,
    boxes: Detections,
    scores: dict[str, CocoScores],
    names: Sequence[str],
) -> None:
    sure = boxes.score >= _MIN_SCORE
    matrix = confusion_matrix(
        truth.objects, boxes.rows(sure), scores["bbox"].found[sure], len(names)
    )
    try:
        draw_precision_recall(folder / "precision_recall.png", scores, names)
        draw_confusion(
            folder / "confusion.png", matrix, names, overlap=OVERLAP, min_score=_MIN_SCORE
        )
    except OSError as error:
        # The numbers are what matters: they must not be lost with the pictures.
        logger.error("The pictures in %s could not be written: %s", folder, error)
    else:
        logger.info("Curves and confusion matrix: %s", folder)
