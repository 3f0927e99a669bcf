"""Plots of the AP of actions: by class with the number of boxes, and precision-recall curves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mvit_det.evaluation.actions.metrics import RECALLS, ActionScores
from mvit_det.evaluation.drawing.figures import draw_bars, new_figure, save_figure, truncate_name

# maximum number of bars, enough for AVA; maximum number of curves
_MANY_BARS, _MANY_CURVES = 80, 8


def draw_class_ap(path: Path, scores: ActionScores, names: Sequence[str]) -> None:
    """Draw AP and number of boxes of each class that has ground truth, the best at the top.

    Args:
        path: of the PNG file to write.
        scores: of K actions.
        names: of the K actions; if there are more than 80, those with the most boxes are drawn.
    """
    labelled = _best_first(scores)
    frequent = labelled[np.argsort(-scores.truth[labelled], kind="stable")[:_MANY_BARS]]
    drawn = labelled[np.isin(labelled, frequent)]
    figure = new_figure(11, max(3, 1.6 + 0.24 * len(drawn)))
    bars, boxes = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    draw_bars(bars, 100 * scores.ap[drawn], [names[k] for k in drawn])
    bars.axvline(100 * scores.mean, color="black", linestyle="--", linewidth=1)
    bars.set(xlabel="AP at IoU 0.5 (percent)", xlim=(0, 110))
    counts = scores.truth[drawn]
    boxes.barh(range(len(drawn)), counts, color="0.7", log=True)
    for place, count in enumerate(counts):
        boxes.text(1.1 * count, place, f"{count}", va="center", fontsize=8)
    boxes.set(xlabel="boxes of ground truth", xlim=(0.8, 3 * counts.max(initial=1)))
    boxes.tick_params(left=False)
    for axes in (bars, boxes):
        axes.grid(axis="x", alpha=0.3)
    title = f"mAP {100 * scores.mean:.1f} (dashed line) over {len(labelled)} actions"
    if len(labelled) < len(names):
        title += f"; {len(names) - len(labelled)} of {len(names)} have no ground truth"
    if len(drawn) < len(labelled):
        title += f"; bars: the {len(drawn)} most frequent"
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)


def draw_action_curves(path: Path, scores: ActionScores, names: Sequence[str]) -> None:
    """Draw the mean precision over recall, and the curves of some classes from best to worst.

    Args:
        path: of the PNG file to write.
        scores: of K actions.
        names: of the K actions.
    """
    labelled = _best_first(scores)
    spread = np.linspace(0, len(labelled) - 1, min(_MANY_CURVES, len(labelled)))
    drawn = labelled[spread.round().astype(int)]
    figure = new_figure(7.5, 5.4)
    axes = figure.subplots()
    for number, k in enumerate(drawn):
        label = f"{truncate_name(names[k])}: {100 * scores.ap[k]:.1f} ({scores.truth[k]} boxes)"
        axes.plot(RECALLS, scores.precision[k], color=f"C{number}", linewidth=1.3, label=label)
    if len(labelled):
        label = f"mean over {len(labelled)} actions: {100 * scores.mean:.1f}"
        axes.plot(RECALLS, scores.precision[labelled].mean(axis=0), "k", linewidth=2.4, label=label)
        axes.legend(loc="best", fontsize=8, title="AP at IoU 0.5", title_fontsize=9)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.grid(alpha=0.3)
    if len(drawn) < len(labelled):
        axes.set_title(f"{len(drawn)} of {len(labelled)} actions, from the best to the worst")
    save_figure(figure, path)


def _best_first(scores: ActionScores) -> np.ndarray:
    """Return the indices of the classes that have ground truth, in descending order of AP."""
    order = np.argsort(-scores.ap, kind="stable")
    return order[np.isfinite(scores.ap[order])]
