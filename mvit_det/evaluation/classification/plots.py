"""Plots of a classifier's accuracy: by class, and the classes it confuses."""

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
    """Draw a bar per class, best first; if there are many, the worst ones and a histogram of all.

    Args:
        path: of the PNG file to write.
        accuracy: of the K classes.
        names: of the K classes.
    """
    order = accuracy.worst_first()
    shown, shares = order[:MANY_ROWS], accuracy.top1[order]
    many = len(shown) < len(order)
    figure = new_figure(12 if many else 7, max(3, 1.4 + 0.28 * len(shown)))
    *spread, bars = figure.subplots(1, 1 + many, squeeze=False)[0]
    for axes in spread:
        axes.hist(shares, bins=np.arange(0, 101, 5), color="tab:blue", edgecolor="white")
        axes.set(title=f"all {len(order)} classes", ylabel="classes")
    shown = shown if many else shown[::-1]
    draw_bars(bars, accuracy.top1[shown], [names[k] for k in shown])
    bars.set_title(f"the {len(shown)} classes of lowest accuracy" if many else "by class")
    for axes in (*spread, bars):
        line = dict(color="black", linestyle="--", linewidth=1)
        axes.axvline(shares.mean(), **line, label=f"mean {shares.mean():.1f}")
        axes.set(xlabel="top-1 accuracy (percent)", xlim=(0, 108))
        axes.legend(loc="best", fontsize=9)
    save_figure(figure, path)


def draw_class_confusion(path: Path, predictions: Predictions) -> None:
    """Draw the confusion matrix; if there are many classes, that of the most confused ones."""
    total = len(predictions.names)
    shown = _select_most_confused(predictions, MANY_ROWS)
    names = [predictions.names[k] for k in shown]
    counts = confusion(predictions, shown)
    share = 100 * predictions.right.mean()
    title = f"{len(predictions)} {predictions.kind}, {share:.1f} % of them right"
    if len(shown) < total:
        title += f"\nthe {len(shown)} of {total} classes in the most frequent mistakes"
        draw_matrix(path, counts, names, [*names, "others"], title, (len(shown), len(shown)))
    else:
        draw_matrix(path, counts[:, :-1], names, names, title, counts.shape)


def confusion(predictions: Predictions, shown: np.ndarray) -> np.ndarray:
    """Count the images of S classes by prediction: (S, S + 1), other classes in the last column."""
    place = np.full(len(predictions.names), len(shown))
    place[shown] = np.arange(len(shown))
    row, column = place[predictions.label], place[predictions.classes[:, 0]]
    inside = row < len(shown)
    counts = np.zeros((len(shown), len(shown) + 1), int)
    np.add.at(counts, (row[inside], column[inside]), 1)
    return counts


def _select_most_confused(predictions: Predictions, limit: int) -> np.ndarray:
    """Return all classes, or the ``limit`` most confused ones, with confused pairs side by side."""
    total = len(predictions.names)
    if total <= limit:
        return np.arange(total)
    true, predicted, _ = predictions.mistakes()
    # if there are few mistakes, other classes fill up
    candidates = np.concatenate([np.column_stack([true, predicted]).ravel(), np.arange(total)])
    _, first = np.unique(candidates, return_index=True)
    return candidates[np.sort(first)[:limit]]
