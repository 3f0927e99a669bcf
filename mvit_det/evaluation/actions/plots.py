"""Plots of the AP of actions: by class next to the number of boxes, and as curves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mvit_det.evaluation.actions.metrics import RECALLS, ActionScores
from mvit_det.evaluation.drawing.figures import draw_bars, new_figure, save_figure, short

# maximum number of bars, enough for AVA; maximum number of curves
_MANY_BARS, _MANY_CURVES = 80, 8


def draw_class_ap(path: Path, scores: ActionScores, names: Sequence[str]) -> None:
    """Draw a bar per class that has ground truth, the best at the top, and its number of boxes.

    Args:
        path: of the PNG file to write.
        scores: of K actions.
        names: of the K actions; if there are more than 80, those with the most boxes are drawn.
    """
    measured = _best_first(scores)
    often = measured[np.argsort(-scores.truth[measured], kind="stable")[:_MANY_BARS]]
    shown = measured[np.isin(measured, often)]
    figure = new_figure(11, max(3, 1.6 + 0.24 * len(shown)))
    bars, boxes = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    draw_bars(bars, 100 * scores.ap[shown], [names[k] for k in shown])
    bars.axvline(100 * scores.mean, color="black", linestyle="--", linewidth=1)
    bars.set(xlabel="AP at IoU 0.5 (percent)", xlim=(0, 110))
    counts = scores.truth[shown]
    boxes.barh(range(len(shown)), counts, color="0.7", log=True)
    for place, count in enumerate(counts):
        boxes.text(1.1 * count, place, f"{count}", va="center", fontsize=8)
    boxes.set(xlabel="boxes of ground truth", xlim=(0.8, 3 * counts.max(initial=1)))
    boxes.tick_params(left=False)
    for axes in (bars, boxes):
        axes.grid(axis="x", alpha=0.3)
    title = f"mAP {100 * scores.mean:.1f} (the line) of {len(measured)} actions"
    if len(measured) < len(names):
        title += f", the others of {len(names)} have no ground truth"
    if len(shown) < len(measured):
        title += f"; the {len(shown)} most frequent are shown"
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)


def draw_precision_recall(path: Path, scores: ActionScores, names: Sequence[str]) -> None:
    """Draw the mean of all curves, and the curves of some classes from best to worst.

    Args:
        path: of the PNG file to write.
        scores: of K actions.
        names: of the K actions.
    """
    measured = _best_first(scores)
    spread = np.linspace(0, len(measured) - 1, min(_MANY_CURVES, len(measured)))
    shown = measured[spread.round().astype(int)]
    figure = new_figure(7.5, 5.4)
    axes = figure.subplots()
    for number, k in enumerate(shown):
        label = f"{short(names[k])}: {100 * scores.ap[k]:.1f} ({scores.truth[k]} boxes)"
        axes.plot(RECALLS, scores.precision[k], color=f"C{number}", linewidth=1.3, label=label)
    if len(measured):
        label = f"mean over {len(measured)} actions: {100 * scores.mean:.1f}"
        axes.plot(RECALLS, scores.precision[measured].mean(axis=0), "k", linewidth=2.4, label=label)
        axes.legend(loc="best", fontsize=8, title="AP at IoU 0.5", title_fontsize=9)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(alpha=0.3)
    if len(shown) < len(measured):
        axes.set_title(f"{len(shown)} of {len(measured)} actions, from the best to the worst")
    save_figure(figure, path)


def _best_first(scores: ActionScores) -> np.ndarray:
    """Return the indices of the classes that have ground truth, by falling AP."""
    order = np.argsort(-scores.ap, kind="stable")
    return order[np.isfinite(scores.ap[order])]
