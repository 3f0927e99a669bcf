"""Accuracy by the number of views: the gain from more clips and crops."""

import logging

import numpy as np
import torch
from tabulate import tabulate

from mvit_det.evaluation.classification.metrics import best_classes
from mvit_det.evaluation.video.sums import means_of_views

logger = logging.getLogger(__name__)

_MANY = 10  # maximum number of lines per number of crops


def log_by_views(scores: np.ndarray, label: np.ndarray) -> list[list[float]]:
    """Log top-1 and top-5 accuracy with fewer views; return the rows of the table.

    Fewer clips are spread evenly over those of the test, a single one is the middle one; so is a
    single crop. A video without any of these views does not count.

    Args:
        scores: (N, clips, crops, K); NaN where there is no view.
        label: (N,) indices of the true classes.

    Returns:
        For each number of views: "crops x clips", number of videos, top-1, top-5 in percent.
    """
    _, clips, crops, _ = scores.shape
    rows = []
    for crop in [_spread(count, crops) for count in sorted({1, crops})]:
        for count in np.unique(np.linspace(1, clips, min(clips, _MANY)).round().astype(int)):
            means, views = means_of_views(scores, _spread(count, clips), crop)
            right = best_classes(torch.from_numpy(means[views > 0]))[1].numpy()
            right = right == label[views > 0, None]
            hits = np.array([right[:, 0].sum(), right.any(axis=1).sum()])
            rows.append([f"{len(crop)} x {count}", len(right), *(100 * hits / max(len(right), 1))])
    head = ["crops x clips", "videos", "top1", "top5"]
    table = tabulate(rows, head, tablefmt="pipe", floatfmt=("", ".0f", ".2f", ".2f"))
    logger.info("Accuracy by number of views, in percent:\n%s", table)
    return rows


def _spread(count: int, total: int) -> np.ndarray:
    """Return ``count`` of 0 .. ``total`` - 1, evenly spread; a single one is the middle."""
    if count == 1:
        return np.array([total // 2])
    return np.linspace(0, total - 1, count).round().astype(int)
