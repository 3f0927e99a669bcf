"""The scores of videos, and of their single views, as files for `numpy.load`.

Both have ``class_names`` (K,), ``file_name`` (N,) and ``label`` (N,). ``video_scores.npz`` also has
``scores`` (N, K), means over ``views`` (N,); ``view_scores.npz`` has ``scores`` (N, clips, crops,
K), NaN where there is no view.

Scores are float32, as from the model: float16 would change the means, and with them the best class
of close calls. That is 4 bytes per view and class: for the 20 thousand test videos of Kinetics-400
160 MB at 5 views, 480 MB at 15; for the 34 thousand of Kinetics-700 860 MB at 9. The scores of
videos alone take 35 MB and 100 MB. They are not compressed, as noise does not shrink.
"""

import os
from collections.abc import Sequence

import numpy as np
import torch

from mvit_det.evaluation.classification.files import (
    NAMED,
    check_columns,
    parse_predictions,
    read_arrays,
    inconsistent_file,
)
from mvit_det.evaluation.classification.metrics import Predictions, best_classes
from mvit_det.evaluation.video.sums import means_of_views

VIDEOS, VIEWS = "video_scores.npz", "view_scores.npz"


def predictions_of_videos(
    names: Sequence[str], file_name: np.ndarray, label: np.ndarray, scores: np.ndarray
) -> Predictions:
    """Return the best classes of N videos from their mean scores (N, K)."""
    best, classes = best_classes(torch.from_numpy(scores))
    return Predictions(names, file_name, label, classes.int().numpy(), best.numpy(), kind="videos")


def read_scores(path: str | os.PathLike) -> tuple[Predictions, np.ndarray | None]:
    """Read any file of predictions: for images, for videos, or for single views.

    Nothing in the file is executed.

    Returns:
        The predictions, from views those for whole videos; and for a file of views its scores
        (N, clips, crops, K), else None.

    Raises:
        UserError: the file is absent, of another kind, or damaged, or its columns do not match.
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
    videos = scores
    if of_views and not np.isinf(scores).any():
        videos, _ = means_of_views(scores)
    if not np.isfinite(videos).all():
        raise inconsistent_file(path, "it has scores that are not finite")
    found = predictions_of_videos(names.tolist(), file_name, label, np.float32(videos))
    return found, scores if of_views else None
