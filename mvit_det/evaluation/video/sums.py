"""Averages of a video's views that do not depend on the order of adding.

Sums of floats depend on their order in the last bit, and so would a test on its batches and
processes, and on where it was interrupted. Sums of integers do not: probabilities are counted in
units of 2^-48, exactly where they are above 3e-8. 64 bits hold the sum of 32 thousand views.

Letters: N videos, V views (clips x crops) of one, K classes.
"""

from collections.abc import Sequence

import numpy as np

_UNIT = 2.0**48

Video = tuple[str, int]  # file name and label


def in_units(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities as int64 multiples of 2^-48."""
    return np.rint(probabilities.astype(np.float64) * _UNIT).astype(np.int64)


def averages(sums: np.ndarray, views: np.ndarray) -> np.ndarray:
    """(N, K) float32 means of sums (N, K) in units, of so many views (N,) each."""
    return (sums / (views[:, None] * _UNIT)).astype(np.float32)


class ViewSums:
    """Sums by video, as clips come along in any order.

    Memory: 8 bytes per video and class, whatever the number of views.
    """

    def __init__(self) -> None:
        self._rows: dict[Video, int] = {}
        self._clips: list[set[int]] = []  # those that have been added
        self._expected: list[int] = []  # clips
        self._views: list[int] = []
        self._sums = np.empty((0, 0), np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def expect(self, video: Video, clips: int) -> None:
        """Know of a video, whose number of clips is given, also if none can be read."""
        row = self._rows.setdefault(video, len(self._rows))
        if row == len(self._views):
            self._clips.append(set())
            self._expected.append(clips)
            self._views.append(0)

    def add(self, video: Video, clip: int, probabilities: np.ndarray) -> bool:
        """Add (V, K), the crops of a clip of an expected video; False if it was there before."""
        row = self._rows[video]
        if clip in self._clips[row]:
            return False
        self._make_room(probabilities.shape[1])
        self._clips[row].add(clip)
        self._views[row] += len(probabilities)
        self._sums[row] += in_units(probabilities).sum(axis=0)
        return True

    def _make_room(self, classes: int) -> None:
        rows = len(self._sums)
        if rows < len(self):
            grown = np.zeros((max(2 * rows, len(self), 256), classes), np.int64)
            if rows:
                grown[:rows] = self._sums
            self._sums = grown

    def absorb(self, other: "ViewSums") -> int:
        """Add the sums of another process; returns how many clips both have, which count twice."""
        twice = 0
        for video, theirs in other._rows.items():
            self.expect(video, other._expected[theirs])
            if not other._views[theirs]:
                continue
            row = self._rows[video]
            twice += len(self._clips[row] & other._clips[theirs])
            self._make_room(other._sums.shape[1])
            self._clips[row] |= other._clips[theirs]
            self._views[row] += other._views[theirs]
            self._sums[row] += other._sums[theirs]
        return twice

    def trimmed(self) -> "ViewSums":
        """Without spare room, to be sent to another process."""
        self._sums = self._sums[: len(self)]
        return self

    def counts(self) -> tuple[int, int, int]:
        """How many clips were added; videos that have none; and videos that have only some."""
        found = [len(clips) for clips in self._clips]
        some = sum(0 < count < expected for count, expected in zip(found, self._expected))
        return sum(found), found.count(0), some

    def means(self) -> tuple[Sequence[Video], np.ndarray, np.ndarray]:
        """The videos that have any view, sorted; how many they have (N,); and their means (N, K)."""
        videos = sorted(video for video, row in self._rows.items() if self._views[row])
        rows = [self._rows[video] for video in videos]
        views = np.array(self._views, np.int32)[rows]
        return videos, views, averages(self._sums[rows], views)
