"""Averages of a video's views that do not depend on the order of summation.

The last bit of a sum of floats depends on their order, so that results would depend on batches,
processes and interruptions. Sums of integers do not: probabilities are converted to multiples of
2^-48, exactly if they are above 3e-8. 64 bits hold the sum of 32 thousand views.

Legend: N videos, V views (clips x crops) of one, K classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

import numpy as np

_UNIT = 2.0**48

Video = tuple[str, int]  # file name and label


@dataclass
class VideoSum:
    """The views of a video so far.

    Attributes:
        expected: number of clips of the video.
        clips: indices of the clips that were added.
        views: number of crops of these clips.
        total: (K,) int64 sum of their probabilities, in units of 2^-48.
    """

    expected: int
    clips: set[int] = field(default_factory=set)
    views: int = 0
    total: np.ndarray | int = 0


class ViewSums(dict[Video, VideoSum]):
    """Sums by video, from clips in any order.

    Memory: 8 bytes per video and class, whatever the number of views.
    """

    def expect(self, video: Video, clips: int) -> VideoSum:
        """Register a video with its number of clips, even if none can be read."""
        return self.setdefault(video, VideoSum(clips))

    def add(self, video: Video, clip: int, probabilities: np.ndarray) -> bool:
        """Add the views of a clip of an expected video; return False for a duplicate.

        Args:
            video: file name and label.
            clip: index of the clip in the video.
            probabilities: (V, K) of the crops, from 0 to 1.
        """
        total = self[video]
        if clip in total.clips:
            return False
        total.clips.add(clip)
        total.views += len(probabilities)
        total.total += _to_units(probabilities).sum(axis=0)
        return True

    def merge(self, other: "ViewSums") -> int:
        """Add the sums of another process; return the number of clips in both: they count twice."""
        duplicates = 0
        for video, added in other.items():
            total = self.expect(video, added.expected)
            duplicates += len(total.clips & added.clips)
            total.clips |= added.clips
            total.views += added.views
            total.total = total.total + added.total
        return duplicates

    def means(self) -> tuple[list[Video], np.ndarray, np.ndarray]:
        """Average the views of each video; there must be at least one view.

        Returns:
            The N videos that have a view, sorted; numbers of views (N,) int32; and means (N, K)
            float32.
        """
        videos = sorted(video for video, total in self.items() if total.views)
        views = np.array([self[video].views for video in videos], np.int32)
        return videos, views, _divide_sums(np.stack([self[video].total for video in videos]), views)


def means_of_views(
    scores: np.ndarray, clips: Iterable[int] | None = None, crops: Iterable[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Average some views of each video, by default all; to the last bit as `ViewSums`.

    Args:
        scores: (N, clips, crops, K) from 0 to 1, NaN where there is no view.
        clips: indices of the clips to use.
        crops: indices of the crops to use.

    Returns:
        Means (N, K) float32, NaN for a video without views; and numbers of views (N,) int32.
    """
    clips = range(scores.shape[1]) if clips is None else clips
    crops = range(scores.shape[2]) if crops is None else crops
    views = np.zeros(len(scores), np.int32)
    sums = np.zeros((len(scores), scores.shape[3]), np.int64)
    for clip, crop in product(clips, crops):
        present = ~np.isnan(scores[:, clip, crop]).any(axis=1)
        sums[present] += _to_units(scores[present, clip, crop])
        views += present
    with np.errstate(invalid="ignore"):
        return _divide_sums(sums, views), views


def _to_units(probabilities: np.ndarray) -> np.ndarray:
    return np.rint(probabilities.astype(np.float64) * _UNIT).astype(np.int64)


def _divide_sums(sums: np.ndarray, views: np.ndarray) -> np.ndarray:
    return (sums / (views[:, None] * _UNIT)).astype(np.float32)
