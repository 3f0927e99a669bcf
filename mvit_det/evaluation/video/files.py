"""Files with the scores of videos and of single views, for `numpy.load`.

Both have ``class_names`` (K,), ``file_name`` (N,) and ``label`` (N,). ``video_scores.npz`` also has
``scores`` (N, K), means over ``views`` (N,); ``view_scores.npz`` has ``scores`` (N, clips, crops,
K), NaN where there is no view.

Scores are float32, as returned by the model: float16 would change the means, and the best class if
two are close. Each view takes 4 bytes per class: 160 MB for the 20 thousand test videos of
Kinetics-400 at 5 views, 480 MB at 15; 860 MB for the 34 thousand of Kinetics-700 at 9. The means
over views take 35 MB and 100 MB. The files are not compressed, since scores hardly shrink.
"""

import os
from collections.abc import Sequence

import numpy as np
import torch

from mvit_det.evaluation.classification.files import (
    NAMED,
    check_columns,
    inconsistent_file,
    parse_predictions,
    read_arrays,
)
from mvit_det.evaluation.classification.metrics import Predictions, best_classes
from mvit_det.evaluation.video.sums import means_of_views

VIDEOS, VIEWS = "video_scores.npz", "view_scores.npz"


def predictions_of_videos(
    names: Sequence[str], file_name: np.ndarray, label: np.ndarray, scores: np.ndarray
) -> Predictions:
    """Return the best classes of N videos.

    Args:
        names: of the K classes.
        file_name: (N,) str.
        label: (N,) indices of the true classes.
        scores: (N, K) float32, means over the views.
    """
    best, classes = best_classes(torch.from_numpy(scores))
    return Predictions(names, file_name, label, classes.int().numpy(), best.numpy(), kind="videos")


def read_scores(path: str | os.PathLike) -> tuple[Predictions, np.ndarray | None]:
    """Read a file of predictions for images, videos, or single views; nothing in it is executed.

    Returns:
        The predictions (for single views, those of their means); and for a file of views the scores
        (N, clips, crops, K), else None.

    Raises:
        UserError: the file is absent, of another kind, or damaged, or the columns do not match.
    """
    arrays = read_arrays(path)
    if "scores" not in arrays:
        return parse_predictions(arrays, path), None
    of_views = arrays["scores"].ndim == 4
    columns = check_columns(arrays, {**NAMED, "scores": (4 if of_views else 2, "f")}, path)
    names, file_name, label, scores = columns.values()
    if scores.shape[0] != len(label) or scores.shape[-1] != len(names) or not scores.size:
        fault = f"its scores are {scores.shape} for {len(label)} videos and {len(names)} classes"
        raise inconsistent_file(path, fault)
    means = scores
    if of_views and not np.isinf(scores).any():
        means, _ = means_of_views(scores)
    if not np.isfinite(means).all():
        raise inconsistent_file(path, "it has scores that are not finite")
    means = means.astype(np.float32)
    predictions = predictions_of_videos(names.tolist(), file_name, label, means)
    return predictions, scores if of_views else None
