"""Report detections: metrics, tables in the log, pictures, and an error analysis."""

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mvit_det.evaluation.detection.confusion import MIN_SCORE, OVERLAP, confusion_matrix
from mvit_det.evaluation.detection.files import CocoTruth, Detections
from mvit_det.evaluation.detection.metrics import MAX_DETECTIONS, CocoScores, compute_coco_scores
from mvit_det.evaluation.detection.plots import TITLES, draw_coco_curves, draw_detection_confusion
from mvit_det.evaluation.tables import class_table, percent_table
from mvit_det.evaluation.writing import log_write_errors, write_atomic

logger = logging.getLogger(__name__)

# kinds of errors by the names of TIDE, in words
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


def report_detections(
    truth: CocoTruth,
    detections: Detections,
    names: Sequence[str],
    folder: str | os.PathLike | None,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, dict[str, float]]:
    """Compute COCO's metrics of detections, log the tables, and draw into ``folder``/pictures.

    ``folder``/error_analysis.json gets ``ap50_lost`` by TIDE's kinds of errors, in percent, and
    ``contradictions``, confident detections that contradict the annotations.

    Args:
        truth: the annotation file.
        detections: detections.
        names: of the K classes, by class index.
        folder: output folder; None to write nothing.
        max_detections: number of detections that count per image and class, best scores first.

    Returns:
        By task ("bbox", and "segm" if there are masks), the 12 COCO metrics and "AP-<name>" of each
        class (if there are several), in percent; NaN if there is nothing to evaluate.
    """
    if not len(detections):
        logger.warning("There are no detections at all.")
    tasks = ["bbox"] if detections.masks is None else ["bbox", "segm"]
    _log_uncounted(truth, names, max_detections)
    scores = {t: compute_coco_scores(truth, detections, t, max_detections) for t in tasks}
    results = {task: dict(score.summary) for task, score in scores.items()}
    if len(names) > 1:
        for task, score in scores.items():
            results[task].update((f"AP-{name}", ap) for name, ap in zip(names, score.by_class()))
    _log_coco_tables(truth, scores, names)
    if folder is not None:
        _write_analysis(Path(folder), truth, detections, scores, names)
    return results


def _log_uncounted(truth: CocoTruth, names: Sequence[str], max_detections: int) -> None:
    """Warn if an image has more objects of a class than detections that count."""
    objects = Counter((item["image_id"], item["category_id"]) for item in truth.objects)
    crowded = {key: count for key, count in objects.items() if count > max_detections}
    if crowded:
        (image, label), most = max(crowded.items(), key=lambda item: item[1])
        logger.warning(
            "%s: up to %d objects of a class in an image (%r in image %r), but only the %d best "
            "detections count, so that perfect ones would not reach 100 %% (%d cases): set "
            "model.max_detections=%d, or --max-detections %d of the evaluation.",
            *(truth.json_file, most, names[label], truth.image_ids[image], max_detections),
            *(len(crowded), most, most),
        )


def _log_coco_tables(truth: CocoTruth, scores: dict[str, CocoScores], names: Sequence[str]) -> None:
    """Log three tables: metrics, AP50 lost by kind of error, and AP by class."""
    rows = [[TITLES[task], *score.summary.values()] for task, score in scores.items()]
    table = percent_table(["percent", *next(iter(scores.values())).summary], rows)
    logger.info("COCO metrics (nan: nothing to evaluate):\n%s", table)
    errors = [scores["bbox"].errors[kind] for kind in _ERRORS]
    table = percent_table(["percent", *_ERRORS.values()], [["boxes", *errors]])
    logger.info("AP50 that each kind of error costs (TIDE):\n%s", table)
    if len(names) == 1:
        return
    objects = Counter(item["category_id"] for item in truth.objects if not item["iscrowd"])
    counts = [objects[label] for label in range(len(names))]
    columns = [names, counts, *(score.by_class() for score in scores.values())]
    head = ["class", "objects", *(f"{TITLES[task]} AP" for task in scores)]
    logger.info("AP by class, in percent:\n%s", class_table(head, list(zip(*columns))))


def _write_analysis(
    folder: Path,
    truth: CocoTruth,
    detections: Detections,
    scores: dict[str, CocoScores],
    names: Sequence[str],
) -> None:
    """Write curves, confusion matrix, and the analysis of errors."""
    matrix, contradictions = confusion_matrix(truth, detections)
    pictures = folder / "pictures"
    with log_write_errors("Curves and confusion matrix", pictures):
        draw_coco_curves(pictures / "precision_recall.png", scores, names)
        path = pictures / "confusion.png"
        draw_detection_confusion(path, matrix, names, overlap=OVERLAP, min_score=MIN_SCORE)
    path = folder / "error_analysis.json"
    what = f"Errors, and {len(contradictions)} detections that contradict the annotations"
    with log_write_errors(what, path):
        analysis = dict(ap50_lost=scores["bbox"].errors, contradictions=contradictions)
        write_atomic(path, json.dumps(analysis, indent=1) + "\n")
