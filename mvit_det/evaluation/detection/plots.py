"""Plots of the COCO metrics: precision-recall curves, and the confusion matrix."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvit_det.evaluation.detection.metrics import RECALLS, THRESHOLDS, CocoScores
from mvit_det.evaluation.drawing.figures import (
    MANY_ROWS,
    draw_matrix,
    new_figure,
    save_figure,
    truncate_name,
)

TITLES = {"bbox": "boxes", "segm": "masks"}
# maximum number of classes whose curves are distinguishable in one plot
_MANY_CURVES = 10
# index of a threshold -> colour of its curve
_NAMED = {0: "tab:blue", 5: "tab:orange"}


def draw_coco_curves(path: Path, scores: dict[str, CocoScores], names: Sequence[str]) -> None:
    """Draw precision over recall for each task, and below it by class if there are at most 10.

    Args:
        path: of the PNG file to write.
        scores: of "bbox" and "segm", or of one of them.
        names: of the K classes.
    """
    by_class = 1 < len(names) <= _MANY_CURVES
    rows = 2 if by_class else 1
    figure = new_figure(6.4 * len(scores), 4.8 * rows)
    panels = figure.subplots(rows, len(scores), squeeze=False, sharex=True, sharey=True)
    for column, (task, score) in enumerate(scores.items()):
        curves = score.curves
        scope = f": mean over {len(names)} classes" if len(names) > 1 else f": {names[0]}"
        panels[0, column].set_title(TITLES[task] + scope)
        _draw_means(panels[0, column], curves)
        if by_class:
            panels[1, column].set_title(f"{TITLES[task]}: by class, at IoU {THRESHOLDS[0]:g}")
            _draw_classes(panels[1, column], curves[0], names)
    for axes in panels.flat:
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axes.grid(alpha=0.3)
        axes.label_outer()
    save_figure(figure, path)


def _draw_means(axes: Any, curves: np.ndarray) -> None:
    """Draw the mean over classes of precision (T, R, K): a curve per threshold, and their mean."""
    measured = np.isfinite(curves[0, 0])
    if not measured.any():
        axes.text(0.5, 0.5, "no objects", ha="center", transform=axes.transAxes)
        return
    mean = curves[:, :, measured].mean(axis=2)
    for index, threshold in enumerate(THRESHOLDS):
        ap = f"AP {100 * mean[index].mean():.1f}"
        style: dict[str, Any] = dict(color="0.75", linewidth=0.8)
        if index in _NAMED:
            style = dict(color=_NAMED[index], linewidth=1.8, label=f"IoU {threshold:g}: {ap}")
        axes.plot(RECALLS, mean[index], **style)
    overall = mean.mean(axis=0)
    label = f"mean over IoU 0.5 to 0.95 (with the gray curves): AP {100 * overall.mean():.1f}"
    axes.plot(RECALLS, overall, color="black", linewidth=2.4, label=label)
    axes.legend(loc="best", fontsize=9)


def _draw_classes(axes: Any, curves: np.ndarray, names: Sequence[str]) -> None:
    """Draw precision (R, K) of each class that has objects."""
    for k in np.flatnonzero(np.isfinite(curves[0])).tolist():
        label = f"{truncate_name(names[k])}: {100 * curves[:, k].mean():.1f}"
        axes.plot(RECALLS, curves[:, k], color=f"C{k}", linewidth=1.6, label=label)
    axes.legend(loc="best", fontsize=9, title="AP50 of each class", title_fontsize=9)


def draw_detection_confusion(
    path: Path, matrix: np.ndarray, names: Sequence[str], *, overlap: float, min_score: float
) -> None:
    """Draw a matrix of `confusion_matrix` with rows in percent.

    Args:
        path: of the PNG file to write.
        matrix: (K + 1, K + 1) counts, the background last.
        names: of the K classes; if there are more than 30, the most confused ones are drawn.
        overlap: IoU threshold of the matrix, for the caption.
        min_score: score threshold of the matrix, for the caption.
    """
    rows, columns, classes = _keep_most_confused(matrix, MANY_ROWS)
    labels = [names[k] for k in classes]
    lines = [f"Boxes: IoU >= {overlap:g}, score >= {min_score:g}"]
    if len(classes) < len(names):
        lines.append(f"the {len(classes)} of {len(names)} classes that are confused most often")
    lines.append("right column: missed objects; bottom row: false detections")
    # a line separates the background from the classes
    dividers = (len(classes), len(classes))
    left, bottom = [*labels, "background"], [*labels, *columns]
    draw_matrix(path, rows, left, bottom, "\n".join(lines), dividers)


def _keep_most_confused(matrix: np.ndarray, limit: int) -> tuple[np.ndarray, list[str], list[int]]:
    """Keep the rows of at most ``limit`` classes; the other classes become one column.

    Returns:
        The kept counts with the background last, the names of the columns after those of the
        classes, and the kept class indices, ascending.
    """
    counts = matrix[:-1, :-1]
    if len(counts) <= limit:
        return matrix, ["background"], list(range(len(counts)))
    confused = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    kept = np.sort(np.argsort(-confused, kind="stable")[:limit]).tolist()
    rows = matrix[[*kept, -1]]
    rest = rows[:, :-1].sum(axis=1) - rows[:, kept].sum(axis=1)
    return np.column_stack([rows[:, kept], rest, rows[:, -1]]), ["others", "background"], kept
