"""Accuracy by the number of views: what more clips and more crops bring."""

import logging
from collections.abc import Iterable

import numpy as np
import torch
from tabulate import tabulate

from mvit_det.evaluation.classification.metrics import best_classes
from mvit_det.evaluation.video.files import means_of_views

logger = logging.getLogger(__name__)

_MANY = 10  # numbers of clips that each get a line


def log_by_views(
    shape: tuple[int, ...], label: np.ndarray, blocks: Iterable[np.ndarray]
) -> list[list[float]]:
    """Log top-1 and top-5 accuracy with fewer views; returns the rows of the table.

    Fewer clips are spread evenly over those of the test, the middle one if it is one alone; a single
    crop is the middle one. A video that lacks all of these views does not count.

    Args:
        shape: (N, clips, crops, K) of all scores.
        label: (N,).
        blocks: of the scores, one after the other; NaN where there is no view.
    """
    _, clips, crops, _ = shape
    counts = np.unique(np.linspace(1, clips, min(clips, _MANY)).round().astype(int))
    chosen = [(_spread(n, clips), _spread(m, crops)) for m in sorted({1, crops}) for n in counts]
    # videos, those whose best class is right, and those with the right one among five
    hits = np.zeros((len(chosen), 3))
    start = 0
    for block in blocks:
        true = label[start : start + len(block)]
        start += len(block)
        for row, (clip, crop) in enumerate(chosen):
            hits[row] += _hits(block[:, clip][:, :, crop], true)
    shares = 100 * hits[:, 1:] / np.maximum(hits[:, :1], 1)
    rows = [
        [f"{len(crop)} x {len(clip)}", videos, *right]
        for (clip, crop), videos, right in zip(chosen, hits[:, 0], shares)
    ]
    head = ["crops x clips", "videos", "top1", "top5"]
    table = tabulate(rows, head, tablefmt="pipe", floatfmt=("", ".0f", ".2f", ".2f"))
    logger.info("Accuracy by number of views, in percent:\n%s", table)
    return rows


def _hits(views: np.ndarray, label: np.ndarray) -> tuple[int, int, int]:
    means, count = means_of_views(views.reshape(len(views), -1, views.shape[-1]))
    means, label = torch.from_numpy(means[count > 0]), label[count > 0]
    if not len(label):
        return 0, 0, 0
    among = best_classes(means)[1].numpy() == label[:, None]
    return len(label), among[:, 0].sum(), among.any(axis=1).sum()


def _spread(count: int, total: int) -> np.ndarray:
    """So many of 0 .. total - 1, evenly; one is the middle."""
    if count == 1:
        return np.array([total // 2])
    return np.linspace(0, total - 1, count).round().astype(int)
