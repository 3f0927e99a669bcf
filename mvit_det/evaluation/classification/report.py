"""Report a classifier's predictions: metrics, tables in the log, and files."""

import logging
from pathlib import Path

import numpy as np

from mvit_det.evaluation.classification.files import save_classes
from mvit_det.evaluation.classification.metrics import Accuracy, Predictions, compute_accuracy
from mvit_det.evaluation.classification.plots import draw_class_accuracy, draw_class_confusion
from mvit_det.evaluation.tables import class_table, percent_table
from mvit_det.evaluation.writing import log_write_errors

logger = logging.getLogger(__name__)

PREDICTIONS, CLASSES = "classification_predictions.npz", "class_accuracy.csv"
# maximum number of classes with one metric each; above it, number of lines in the log
_MANY, _LOWEST = 100, 20


def report_classification(predictions: Predictions, folder: Path | None) -> dict[str, dict[str, float]]:
    """Compute the metrics, log the tables, and write table and pictures into a folder, if not None.

    Returns:
        {"classification": {"top1", "top5", "mean_class_accuracy" and, for at most 100 classes,
        "top1-<class>"}} in percent; NaN for a class without images.
    """
    accuracy = compute_accuracy(predictions)
    numbers = accuracy.summary()
    names = predictions.names
    _log_class_tables(predictions, accuracy, numbers)
    if folder is not None:
        with log_write_errors("Accuracy by class", folder / CLASSES):
            save_classes(folder / CLASSES, predictions, accuracy)
        pictures = folder / "pictures"
        with log_write_errors("Pictures", pictures):
            draw_class_accuracy(pictures / "class_accuracy.png", accuracy, names)
            draw_class_confusion(pictures / "confusion.png", predictions)
    if len(names) <= _MANY:
        numbers |= {f"top1-{name}": float(value) for name, value in zip(names, accuracy.top1)}
    return {"classification": numbers}


def _log_class_tables(predictions: Predictions, accuracy: Accuracy, numbers: dict[str, float]) -> None:
    """Log one table of all classes together, and one by class."""
    names = predictions.names
    head = ["percent", predictions.kind, "classes", *numbers]
    rows = [["accuracy", len(predictions), len(names), *numbers.values()]]
    logger.info("Classification:\n%s", percent_table(head, rows))
    shown, title = np.arange(len(names)), "Accuracy by class, in percent"
    if len(names) > _MANY:
        shown = accuracy.worst_first()[:_LOWEST]
        title = f"The {len(shown)} of {len(names)} classes of lowest accuracy, in percent"
    rows = [[names[k], accuracy.images[k], accuracy.top1[k], accuracy.top5[k]] for k in shown]
    head = ["class", predictions.kind, "top1", "top5"]
    logger.info("%s (nan: none is of the class):\n%s", title, class_table(head, rows))
