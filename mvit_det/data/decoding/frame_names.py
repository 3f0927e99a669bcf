"""The names of the pictures in a folder of frames, listed once and kept in little memory."""

import logging
import os
import re
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mvit_det.data.decoding.cache import RecentlyUsed
from mvit_det.data.decoding.stream import VideoError
from mvit_det.data.file_kinds import is_image_name
from mvit_det.errors import printable

logger = logging.getLogger(__name__)

# Of all folders together. One numbered without a gap is one run, however many frames it has.
_RUNS_KEPT = 100_000
_NUMBER = re.compile(r"([0-9]+)")
# Seconds. File systems date changes in ticks, so that a folder may change twice under one date.
_SETTLED = 2.0
# A larger share of uneven steps is no accident: frames were left out on purpose.
_MOST_GAPS = 0.15


@dataclass(frozen=True)
class _Run:
    """Names that differ by a number alone, which counts up by one; or a single name."""

    before: str
    number: int | None
    digits: int  # at least so many, with zeros in front
    after: str
    start: int  # how many names come before this run

    def name(self, index: int) -> str:
        """The name at a place in all names."""
        if self.number is None:
            return self.before
        number = self.number + index - self.start
        return f"{self.before}{number:0{self.digits}d}{self.after}"


class FrameNames(Sequence[str]):
    """Names of frames in the order of the numbers in them: frame_9.jpg before frame_10.jpg.

    A video of 15 minutes has 27,000, which as a list take 2 MB: by runs they take next to nothing.

    Attributes:
        places: (N,) int64, the place of each in the video, from 0 on. They are 0, 1, 2, ... but where
            pictures are missing, as the numbers tell.
    """

    def __init__(self, names: Iterable[str]):
        names = sorted(names, key=_by_number)
        self._runs = list(_runs(names))
        self._starts = [run.start for run in self._runs]
        self._count = len(names)
        self._gaps = {} if self.runs == 1 else _gaps(names)

    @property
    def places(self) -> np.ndarray:
        """See above."""
        steps = np.ones(self._count, np.int64)
        for start, missing in self._gaps.items():
            steps[start] += missing
        return steps.cumsum() - 1

    @property
    def missing(self) -> int:
        """How many pictures are missing."""
        return sum(self._gaps.values())

    @property
    def runs(self) -> int:
        """How many runs there are."""
        return len(self._runs)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        index = range(self._count)[index]
        return self._runs[bisect_right(self._starts, index) - 1].name(index)


_kept: RecentlyUsed[FrameNames] = RecentlyUsed()


def frame_names(folder: str | os.PathLike) -> FrameNames:
    """The pictures in a folder, from memory if this process has listed it and it has not changed.

    Raises:
        VideoError: there are none, or the folder cannot be listed.
    """
    try:
        changed = os.stat(folder).st_mtime_ns
        key = (os.path.abspath(folder), changed)
        names = _kept.get(key)
        if names is None:
            names = FrameNames(_listed(folder))
            if names.missing:
                logger.warning(
                    "%s lacks %d of its pictures, as their numbers tell; the nearest others stand in "
                    "for them.",
                    printable(folder),
                    names.missing,
                )
            if time.time() - changed / 1e9 > _SETTLED:
                _kept.add(key, names, names.runs, _RUNS_KEPT)
    except OSError as error:
        raise VideoError(f"the folder cannot be listed: {error.strerror}") from error
    if not names:
        raise VideoError("the folder has no pictures")
    return names


def _listed(folder: str | os.PathLike) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    # Names with a dot in front are what systems put beside the pictures.
    return [name for name in names if is_image_name(name) and not name.startswith(".")]


def _by_number(name: str) -> tuple[list[str | int], str]:
    parts: list[str | int] = list(_NUMBER.split(name))
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def _runs(names: Sequence[str]) -> Iterator[_Run]:
    """Runs that together give exactly these names."""
    run = None
    for index, (name, following) in enumerate(pairwise([*names, ""])):
        if run is None or run.name(index) != name:
            run = _begun(name, following, index)
            yield run


def _begun(name: str, following: str, start: int) -> _Run:
    """The run that a name begins: the number that counts is the one that the next name changes."""
    parts, others = _NUMBER.split(name), _NUMBER.split(following)
    numbers = range(1, min(len(parts), len(others)), 2)
    place = next((place for place in numbers if parts[place] != others[place]), None)
    if place is None:
        return _Run(name, None, 0, "", start)
    before, number, after = "".join(parts[:place]), parts[place], "".join(parts[place + 1 :])
    return _Run(before, int(number), len(number), after, start)


def _gaps(names: Sequence[str]) -> dict[int, int]:
    """{index of the name behind a gap: how many are missing}; none where numbers tell nothing.

    They may count in steps (every fifth frame of a video). Where steps are uneven, as where a video
    was thinned to an odd rate (two of three frames), nobody can say what is missing.
    """
    split = [_NUMBER.split(name) for name in names]
    if len({tuple(parts[::2]) for parts in split}) != 1 or len(names) < 3:
        return {}
    numbers = np.array([[int(number) for number in parts[1::2]] for parts in split])
    counting = (numbers != numbers[0]).any(axis=0)
    if counting.sum() != 1:
        return {}
    steps = np.diff(numbers[:, counting][:, 0])
    step = int(np.median(steps))
    if step < 1 or (steps % step).any() or (steps > step).mean() > _MOST_GAPS:
        return {}
    return {int(at) + 1: int(steps[at]) // step - 1 for at in np.flatnonzero(steps > step)}
