"""Averages of a video's views that do not depend on the order of summation.

Sums of floats depend on their order in the last bit, and so would a test on its batches and
processes, and on where it was interrupted. Sums of integers do not: probabilities are converted to
multiples of 2^-48, exactly if they are above 3e-8. 64 bits hold the sum of 32 thousand views.

Letters: N videos, V views (clips x crops) of one, K classes.
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
        views: number of crops of these.
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
        """Add the crops (V, K) of a clip of an expected video; return False for a duplicate."""
        one = self[video]
        if clip in one.clips:
            return False
        one.clips.add(clip)
        one.views += len(probabilities)
        one.total += _to_units(probabilities).sum(axis=0)
        return True

    def merge(self, other: "ViewSums") -> int:
        """Add the sums of another process; return how many clips are in both, which count twice."""
        twice = 0
        for video, theirs in other.items():
            ours = self.expect(video, theirs.expected)
            twice += len(ours.clips & theirs.clips)
            ours.clips |= theirs.clips
            ours.views += theirs.views
            ours.total = ours.total + theirs.total
        return twice

    def means(self) -> tuple[list[Video], np.ndarray, np.ndarray]:
        """Return the sorted videos that have a view, with number (N,) and means (N, K) of views."""
        videos = sorted(video for video, one in self.items() if one.views)
        views = np.array([self[video].views for video in videos], np.int32)
        return videos, views, _divide_sums(np.stack([self[video].total for video in videos]), views)


def means_of_views(
    scores: np.ndarray, clips: Iterable[int] | None = None, crops: Iterable[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return means (N, K) of some views, by default all, and their number (N,).

    The means equal those of `ViewSums` to the last bit; NaN for a video without views.

    Args:
        scores: (N, clips, crops, K), NaN where there is no view.
        clips: indices of the clips to use.
        crops: indices of the crops to use.
    """
    chosen = [range(scores.shape[1]) if clips is None else clips]
    chosen += [range(scores.shape[2]) if crops is None else crops]
    views = np.zeros(len(scores), np.int32)
    sums = np.zeros((len(scores), scores.shape[3]), np.int64)
    for clip, crop in product(*chosen):
        there = ~np.isnan(scores[:, clip, crop]).any(axis=1)
        sums[there] += _to_units(scores[there, clip, crop])
        views += there
    with np.errstate(invalid="ignore"):
        return _divide_sums(sums, views), views


def _to_units(probabilities: np.ndarray) -> np.ndarray:
    return np.rint(probabilities.astype(np.float64) * _UNIT).astype(np.int64)


def _divide_sums(sums: np.ndarray, views: np.ndarray) -> np.ndarray:
    return (sums / (views[:, None] * _UNIT)).astype(np.float32)
