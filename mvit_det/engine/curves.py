"""Draw the curves of losses and metrics in ``metrics.json`` (one JSON object per line) as PNGs."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

# file name -> the metrics it shows, in percent; one panel per key prefix, such as "bbox/"
_METRICS = {"ap.png": ("AP", "AP50"), "accuracy.png": ("top1", "top5"), "map.png": ("mAP50",)}


def read_curves(metrics_json: str | os.PathLike) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read {key: (iterations, values)}, both of shape (points,), sorted by iteration.

    Values that are not finite are skipped. A resumed run writes some iterations twice: the later
    line counts. A line that is not JSON (the run was killed while writing) is skipped. If the file
    does not exist, the result is empty.
    """
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    path = Path(metrics_json)
    text = path.read_text("utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        try:
            row = json.loads(line)
            iteration = row.pop("iteration")
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError):
            continue
        for key, value in row.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                curves[key][iteration] = value
    return {
        key: (np.array(sorted(points)), np.array([points[i] for i in sorted(points)]))
        for key, points in curves.items()
    }


def smooth(values: np.ndarray, share: float = 0.05) -> np.ndarray:
    """Average (N,) values over a centred window of about ``share`` x N points; returns (N,).

    The window shrinks symmetrically towards both ends.
    """
    half = int(len(values) * share / 2 + 0.5)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    radius = np.minimum(half, np.minimum(index, index[::-1]))
    return (sums[index + radius + 1] - sums[index - radius]) / (2 * radius + 1)


def draw_curves(metrics_json: str | os.PathLike, output_dir: str | os.PathLike) -> list[Path]:
    """Draw ``losses.png`` and one PNG per kind of metric; return the paths of those with data."""
    # Imported here: it takes a second, and a training needs it only at its end.
    from matplotlib.figure import Figure

    curves = read_curves(metrics_json)
    pictures = {"losses.png": _draw_losses}
    pictures |= {name: partial(_draw_metrics, metrics) for name, metrics in _METRICS.items()}
    written = []
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    for name, draw in pictures.items():
        figure = Figure(figsize=(10, 4.8), layout="constrained")
        if draw(figure, curves):
            written.append(Path(output_dir) / name)
            figure.savefig(written[-1], dpi=130)
    return written


def _draw_losses(figure, curves: dict) -> bool:
    """Draw the total loss and learning rate on the left, the terms of the loss on the right."""
    if "total_loss" not in curves:
        return False
    total, parts = figure.subplots(1, 2)
    terms = sorted(key for key in curves if key.startswith("loss_"))
    for axes, title, keys in (
        (total, "total loss and learning rate", ["total_loss"]),
        (parts, "terms of the loss", terms),
    ):
        for key in keys:
            iterations, values = curves[key]
            (line,) = axes.plot(iterations, smooth(values), label=key, linewidth=2)
            axes.plot(iterations, values, color=line.get_color(), alpha=0.3, linewidth=0.8)
        axes.set(title=title, xlabel="iteration", ylabel="loss")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    if terms:
        parts.legend()
    if "lr" in curves:
        rate = total.twinx()
        rate.plot(*curves["lr"], color="tab:gray", linestyle="--", linewidth=1.2)
        rate.set_ylabel("learning rate (dashed)", color="tab:gray")
        rate.set_ylim(bottom=0)
    return True


def _draw_metrics(metrics: Sequence[str], figure, curves: dict) -> bool:
    """Draw one panel per key prefix, such as "bbox/", all from 0 to 105 percent."""
    panels: dict[str, list[str]] = defaultdict(list)
    for key in curves:
        prefix, _, name = key.rpartition("/")
        if name in metrics:
            panels[prefix].append(name)
    if not panels:
        return False
    columns = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (prefix, names) in zip(columns, panels.items()):
        for name in names:
            iterations, values = curves[f"{prefix}/{name}"]
            label = f"{name}, {values[-1]:.1f} at the end"
            axes.plot(iterations, values, marker="o", markersize=4, label=label)
        axes.set(title=f"test set, {prefix}", xlabel="iteration", ylabel="percent", ylim=(0, 105))
        axes.grid(alpha=0.3)
        axes.set_xlim(left=0)
        axes.legend(loc="best")
    return True
