"""Plots of a classifier: accuracy by class, and the confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mvit_det.evaluation.classification.metrics import Accuracy, Predictions
from mvit_det.evaluation.drawing.figures import (
    MANY_ROWS,
    draw_bars,
    draw_matrix,
    new_figure,
    save_figure,
)


def draw_class_accuracy(path: Path, accuracy: Accuracy, names: Sequence[str]) -> None:
    """Draw accuracy by class, best first; of more than 30 the worst, and a histogram of all.

    Args:
        path: of the PNG file to write.
        accuracy: of the K classes.
        names: of the K classes.
    """
    order = accuracy.worst_first()
    classes, percents = order[:MANY_ROWS], accuracy.top1[order]
    many = len(classes) < len(order)
    figure = new_figure(12 if many else 7, max(3, 1.4 + 0.28 * len(classes)))
    *histogram, bars = figure.subplots(1, 1 + many, squeeze=False)[0]
    for axes in histogram:
        axes.hist(percents, bins=np.arange(0, 101, 5), color="tab:blue", edgecolor="white")
        axes.set(title=f"all {len(order)} classes", ylabel="classes")
    classes = classes if many else classes[::-1]
    draw_bars(bars, accuracy.top1[classes], [names[k] for k in classes])
    bars.set_title(f"the {len(classes)} classes of lowest accuracy" if many else "by class")
    for axes in (*histogram, bars):
        line = dict(color="black", linestyle="--", linewidth=1)
        axes.axvline(percents.mean(), **line, label=f"mean {percents.mean():.1f}")
        axes.set(xlabel="top-1 accuracy (percent)", xlim=(0, 108))
        axes.legend(loc="best", fontsize=9)
    save_figure(figure, path)


def draw_class_confusion(path: Path, predictions: Predictions) -> None:
    """Draw the confusion matrix; if there are more than 30 classes, of the most confused ones.

    Args:
        path: of the PNG file to write.
        predictions: of at least one image.
    """
    total = len(predictions.names)
    classes = _select_most_confused(predictions, MANY_ROWS)
    names = [predictions.names[k] for k in classes]
    counts = confusion(predictions, classes)
    percent = 100 * predictions.correct.mean()
    title = f"{len(predictions)} {predictions.kind}, {percent:.1f} % correct"
    if len(classes) < total:
        title += f"\nthe {len(classes)} of {total} classes in the most frequent mistakes"
        draw_matrix(path, counts, names, [*names, "others"], title, (len(classes), len(classes)))
    else:
        draw_matrix(path, counts[:, :-1], names, names, title, counts.shape)


def confusion(predictions: Predictions, classes: np.ndarray) -> np.ndarray:
    """Count the images of S classes (S,) by prediction.

    Returns:
        (S, S + 1) int, true classes in rows; the last column counts predictions of other classes.
    """
    index = np.full(len(predictions.names), len(classes))
    index[classes] = np.arange(len(classes))
    row, column = index[predictions.label], index[predictions.classes[:, 0]]
    included = row < len(classes)
    counts = np.zeros((len(classes), len(classes) + 1), int)
    np.add.at(counts, (row[included], column[included]), 1)
    return counts


def _select_most_confused(predictions: Predictions, limit: int) -> np.ndarray:
    """Return all class indices, or the ``limit`` most confused, confused pairs side by side."""
    total = len(predictions.names)
    if total <= limit:
        return np.arange(total)
    true, predicted, _ = predictions.mistakes()
    # if there are few mistakes, add other classes
    candidates = np.concatenate([np.column_stack([true, predicted]).ravel(), np.arange(total)])
    _, first = np.unique(candidates, return_index=True)
    return candidates[np.sort(first)[:limit]]
