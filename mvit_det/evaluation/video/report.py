"""Accuracy by number of views: the gain from more clips and crops."""

import logging
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from mvit_det.evaluation.classification.metrics import best_classes
from mvit_det.evaluation.video.sums import means_of_views

logger = logging.getLogger(__name__)

_MAX_COUNTS = 10  # maximum number of rows per number of crops


def log_by_views(scores: np.ndarray, label: np.ndarray) -> list[list[Any]]:
    """Log top-1 and top-5 accuracy with fewer views; return the rows of the table.

    Fewer clips are spread evenly over those of the test; a single clip or crop is the middle one. A
    video without any of these views is left out.

    Args:
        scores: (N, clips, crops, K) from 0 to 1; NaN where there is no view.
        label: (N,) indices of the true classes.

    Returns:
        A row for each number of views: "crops x clips", number of videos, top-1 and top-5 accuracy
        in percent.
    """
    _, clips, crops, _ = scores.shape
    rows: list[list[Any]] = []
    for crop in [_spread(count, crops) for count in sorted({1, crops})]:
        for count in np.unique(np.linspace(1, clips, min(clips, _MAX_COUNTS)).round().astype(int)):
            means, views = means_of_views(scores, _spread(count, clips), crop)
            classes = best_classes(torch.from_numpy(means[views > 0]))[1].numpy()
            hits = classes == label[views > 0, None]
            counts = np.array([hits[:, 0].sum(), hits.any(axis=1).sum()])
            rows.append([f"{len(crop)} x {count}", len(hits), *(100 * counts / max(len(hits), 1))])
    head = ["crops x clips", "videos", "top1", "top5"]
    table = tabulate(rows, head, tablefmt="pipe", floatfmt=("", ".0f", ".2f", ".2f"))
    logger.info("Accuracy by number of views, in percent:\n%s", table)
    return rows


def _spread(count: int, total: int) -> np.ndarray:
    """Return evenly spread indices (count,) below ``total``; a single one is the middle."""
    if count == 1:
        return np.array([total // 2])
    return np.linspace(0, total - 1, count).round().astype(int)
