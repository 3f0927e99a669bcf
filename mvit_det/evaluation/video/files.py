"""The scores of videos, and of their single views, as files for `numpy.load`.

In float32, as the model gave them: means of float16 would be others, and with them the best class of
a video in doubt. On disk that is 4 bytes per view and class: for the 20 thousand test videos of
Kinetics-400 160 MB at 5 views, 480 MB at 15; for the 34 thousand of Kinetics-700 860 MB at 9. The
scores of videos alone take 35 MB and 100 MB.
"""

import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mvit_det.errors import UserError
from mvit_det.evaluation.classification.files import (
    checked,
    predictions_in,
    read_arrays,
    unsound,
)
from mvit_det.evaluation.classification.metrics import Predictions, best_classes
from mvit_det.evaluation.video.sums import averages, in_units
from mvit_det.files import atomic_file

VIDEOS, VIEWS = "video_scores.npz", "view_scores.npz"
_NAMED = {"class_names": (1, "U"), "file_name": (1, "U"), "label": (1, "i")}


@dataclass(frozen=True)
class VideoScores:
    """The scores of N videos, sorted by file name; the arrays of ``video_scores.npz``.

    Attributes:
        class_names: of the K classes, each another.
        file_name: (N,) of str.
        label: (N,) the true classes.
        scores: (N, K) means of the probabilities of all views.
        views: (N,) how many those are.
    """

    class_names: list[str]
    file_name: np.ndarray
    label: np.ndarray
    scores: np.ndarray
    views: np.ndarray

    def predictions(self) -> Predictions:
        """The best classes of each."""
        best, classes = best_classes(torch.from_numpy(self.scores))
        kept = classes.int().numpy(), best.numpy()
        return Predictions(self.class_names, self.file_name, self.label, *kept, kind="videos")


def save_videos(path: Path, scores: VideoScores) -> None:
    """Write ``video_scores.npz``."""
    columns = {**_named(scores), "views": scores.views}
    _write(path, columns, scores.scores.shape, [scores.scores])


def save_views(
    path: Path, videos: VideoScores, shape: tuple[int, ...], blocks: Iterable[np.ndarray]
) -> None:
    """Write ``view_scores.npz``: names and labels as of the videos, and probabilities of views.

    Args:
        shape: (N, clips, crops, K) of all scores, whose place tells clip and crop.
        blocks: of these, one after the other; NaN for views that could not be read.
    """
    _write(path, _named(videos), shape, blocks)


def _named(scores: VideoScores) -> dict[str, np.ndarray]:
    return {
        "class_names": np.array(scores.class_names, np.str_),
        "file_name": scores.file_name,
        "label": scores.label,
    }


def _write(
    path: Path,
    columns: Mapping[str, np.ndarray],
    shape: tuple[int, ...],
    blocks: Iterable[np.ndarray],
) -> None:
    """Arrays and the large one, "scores", block by block; not compressed, as noise is not smaller."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            for name, column in columns.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, column, allow_pickle=False)
            with archive.open("scores.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for block in blocks:
                    member.write(np.ascontiguousarray(block, "<f4"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error}): free {4 * np.prod(shape) / 1e6:.0f} MB or choose "
            "another folder."
        ) from error


def read_scores(path: str | os.PathLike) -> tuple[Predictions, np.ndarray | None]:
    """Read any file of predictions: of images, of videos, or of single views.

    Returns:
        The predictions, of views those for whole videos; and the scores (N, clips, crops, K) of a
        file of views.

    Raises:
        UserError: the file is absent, no such file, damaged, or its columns do not fit together.
    """
    arrays = read_arrays(path)
    if "scores" not in arrays:
        return predictions_in(arrays, path), None
    of_views = arrays["scores"].ndim == 4
    columns = checked(arrays, {**_NAMED, "scores": (4 if of_views else 2, "f")}, path)
    names, file_name, label, scores = columns.values()
    if scores.shape[0] != len(label) or scores.shape[-1] != len(names) or not scores.size:
        fault = f"its scores are {scores.shape} for {len(label)} videos and {len(names)} classes"
        raise unsound(path, fault)
    views = np.ones(len(label), np.int32)
    videos = scores
    if of_views and not np.isinf(scores).any():
        videos, views = means_of_views(scores.reshape(len(label), -1, len(names)))
    if not np.isfinite(videos).all():
        raise unsound(path, "it has scores that are no finite numbers")
    found = VideoScores(names.tolist(), file_name, label, np.float32(videos), views)
    return found.predictions(), scores if of_views else None


def means_of_views(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, V, K) -> means (N, K) of the views that are there, and how many those are (N,).

    As `ViewSums` has them, to the last bit; NaN for a video without views.
    """
    there = ~np.isnan(scores).any(axis=2)
    views = there.sum(axis=1)
    sums = np.zeros((len(scores), scores.shape[2]), np.int64)
    for view in range(scores.shape[1]):
        sums[there[:, view]] += in_units(scores[there[:, view], view])
    with np.errstate(invalid="ignore"):
        return averages(sums, views), views
