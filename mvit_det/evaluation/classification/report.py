"""Report classification: metrics, tables in the log, files, and pictures."""

import logging
from pathlib import Path

from mvit_det.evaluation.classification.files import save_classes
from mvit_det.evaluation.classification.metrics import Accuracy, Predictions, compute_accuracy
from mvit_det.evaluation.classification.plots import draw_class_accuracy, draw_class_confusion
from mvit_det.evaluation.tables import class_table, percent_table
from mvit_det.evaluation.writing import log_write_errors

logger = logging.getLogger(__name__)

PREDICTIONS, CLASSES = "classification_predictions.npz", "class_accuracy.csv"
# maximum number of classes with a metric each; above it, number of classes in the log
_MANY, _LOWEST = 100, 20


def report_classes(predictions: Predictions, folder: Path | None) -> dict[str, dict[str, float]]:
    """Compute accuracy, log the tables, and write ``class_accuracy.csv`` and ``pictures/``.

    Args:
        predictions: of at least one image.
        folder: output folder; None to write nothing.

    Returns:
        {"classification": {"top1", "top5", "mean_class_accuracy" and, for at most 100 classes,
        "top1-<class>"}} in percent; NaN for a class without images.
    """
    accuracy = compute_accuracy(predictions)
    numbers = accuracy.summary()
    names = predictions.names
    _log_accuracy(predictions, accuracy, numbers)
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


def _log_accuracy(predictions: Predictions, accuracy: Accuracy, numbers: dict[str, float]) -> None:
    """Log a table of the averages, and one by class."""
    names = predictions.names
    head = ["percent", predictions.kind, "classes", *numbers]
    rows = [["accuracy", len(predictions), len(names), *numbers.values()]]
    logger.info("Classification:\n%s", percent_table(head, rows))
    listed, title = list(range(len(names))), "Accuracy by class, in percent"
    if len(names) > _MANY:
        listed = accuracy.worst_first()[:_LOWEST].tolist()
        title = f"The {len(listed)} of {len(names)} classes of lowest accuracy, in percent"
    rows = [[names[k], accuracy.images[k], accuracy.top1[k], accuracy.top5[k]] for k in listed]
    head = ["class", predictions.kind, "top1", "top5"]
    logger.info("%s (nan: the class has none):\n%s", title, class_table(head, rows))
