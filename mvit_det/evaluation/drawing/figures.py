"""Common parts of all plots: figures without a display, bars, and matrices of counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvit_det.evaluation.drawing.fonts import drawable, find_font

# maximum number of classes whose rows are distinguishable in one plot
MANY_ROWS = 30


def new_figure(width: float, height: float) -> Any:
    """Create an empty `matplotlib` figure, sides in inches; pyplot would keep it in memory."""
    # imported here, since it takes a second
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG file; create its folder. Text that needs another font gets it."""
    from matplotlib.font_manager import fontManager
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        file = find_font(text.get_text())
        if file:
            fontManager.addfont(file)
            text.set_fontfamily([*text.get_fontfamily(), fontManager.ttflist[-1].name])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def truncate_name(name: str) -> str:
    """Truncate a name to 25 characters, and escape dollar signs, which start a formula.

    Characters that no font has become code points.
    """
    name = drawable(name)
    name = name if len(name) <= 24 else f"{name[:22]}..."
    return name.replace("$", r"\$")


def draw_bars(axes: Any, percents: np.ndarray, names: Sequence[str]) -> None:
    """Draw a bar for each of K classes, the first one at the top.

    Args:
        axes: `matplotlib.axes.Axes` to draw on.
        percents: (K,) lengths of the bars, in percent.
        names: of the K classes.
    """
    places = range(len(percents))
    axes.barh(places, percents, color="tab:blue")
    axes.set_yticks(places, list(map(truncate_name, names)))
    box = dict(facecolor="white", edgecolor="none", pad=0.5)
    for place, percent in zip(places, percents):
        axes.text(percent + 1, place, f"{percent:.1f}", va="center", fontsize=9, bbox=box)
    axes.set_ylim(len(percents) - 0.5, -0.5)


def draw_matrix(
    path: Path,
    counts: np.ndarray,
    left: Sequence[str],
    bottom: Sequence[str],
    title: str,
    dividers: tuple[int, int],
) -> None:
    """Draw a matrix of counts, rows in percent.

    Args:
        path: of the PNG file to write.
        counts: (R, C) int, truth by prediction.
        left: names of the R rows.
        bottom: names of the C columns.
        title: of the plot.
        dividers: numbers of rows and columns that are classes; a line separates the rest.
    """
    totals = counts.sum(axis=1)
    share = counts / np.maximum(totals, 1)[:, None]
    side = 0.4 * len(counts)
    figure = new_figure(max(7, 4 + side), max(5, 2.6 + side))
    axes = figure.subplots()
    image = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    figure.colorbar(image, ax=axes, label="percent of the row", fraction=0.03, pad=0.02)
    axes.set_yticks(range(len(left)), [f"{truncate_name(n)} ({c})" for n, c in zip(left, totals)])
    axes.set_xticks(
        range(len(bottom)), list(map(truncate_name, bottom)), rotation=90 if len(bottom) > 8 else 30
    )
    if len(bottom) <= 8:
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    axes.set(xlabel="prediction", ylabel="truth (number in the row)")
    for row, column in zip(*np.nonzero(share >= 0.005)):
        value = share[row, column]
        colour = "white" if value > 0.5 else "black"
        axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=colour)
    for draw_line, place, end in zip((axes.axhline, axes.axvline), dividers, counts.shape):
        if place < end:
            draw_line(place - 0.5, color="0.4", linewidth=1)
    axes.set_title(title, fontsize=10)
    save_figure(figure, path)
