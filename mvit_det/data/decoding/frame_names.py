"""Names of the pictures in a folder of frames, listed once per process and kept compressed."""

import logging
import os
import pickle
import re
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mvit_det.data.decoding.cache import RecentlyUsed
from mvit_det.data.decoding.stream import VideoError
from mvit_det.data.file_kinds import is_image_name
from mvit_det.errors import printable

logger = logging.getLogger(__name__)

# For all folders together; AVA's 299 take a third of it.
_BYTES_KEPT = 2**26
_NUMBER = re.compile(r"([0-9]+)")
# Seconds. Time stamps of file systems are coarse: a folder may change twice at the same time.
_SETTLED = 2.0
# With a larger share of uneven steps, frames are assumed to be left out on purpose.
_MOST_GAPS = 0.15


@dataclass(frozen=True)
class FrameNames:
    """Names of frames in the order of the numbers in them: frame_9.jpg before frame_10.jpg.

    Attributes:
        names: N file names.
        gaps: {index of the name after a gap: number of missing pictures}, by the numbers in names.
    """

    names: list[str]
    gaps: dict[int, int]

    @classmethod
    def of(cls, names: Iterable[str]) -> "FrameNames":
        """Sort file names, in any order, by the numbers in them, and find the gaps."""
        names = sorted(names, key=_number_key)
        return cls(names, _find_gaps(names))

    @property
    def indices(self) -> np.ndarray:
        """Frame index in the video of each picture, missing ones counted: int64 (N,), from 0."""
        steps = np.ones(len(self.names), np.int64)
        for index, missing in self.gaps.items():
            steps[index] += missing
        return steps.cumsum() - 1


# A video of 15 minutes has 27,000 names, which take 2 MB, or compressed 60 KB.
_kept: RecentlyUsed[bytes] = RecentlyUsed()


def frame_names(folder: str | os.PathLike) -> FrameNames:
    """List the pictures in a folder, from the cache if the folder has not changed.

    Raises:
        VideoError: the folder has no pictures, or cannot be listed.
    """
    try:
        changed = os.stat(folder).st_mtime_ns
        key = (os.path.abspath(folder), changed)
        packed = _kept.get(key)
        if packed is not None:
            return pickle.loads(zlib.decompress(packed))
        listed = FrameNames.of(_list_pictures(folder))
    except OSError as error:
        raise VideoError(f"the folder cannot be listed: {error.strerror}") from error
    if not listed.names:
        raise VideoError("the folder has no pictures")
    if listed.gaps:
        logger.warning(
            "%s lacks %d of its pictures, by their numbers; the previous ones are used instead.",
            *(printable(folder), sum(listed.gaps.values())),
            extra={"summary": True},
        )
    if time.time() - changed / 1e9 > _SETTLED:
        packed = zlib.compress(pickle.dumps(listed), 1)
        _kept.add(key, packed, len(packed), _BYTES_KEPT)
    return listed


def _list_pictures(folder: str | os.PathLike) -> list[str]:
    # Operating systems add hidden files, whose names begin with a dot.
    return [name for name in os.listdir(folder) if is_image_name(name) and name[0] != "."]


def _number_key(name: str) -> tuple[list[str | int], str]:
    parts: list[str | int] = list(_NUMBER.split(name))
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def _find_gaps(names: Sequence[str]) -> dict[int, int]:
    """Find `FrameNames.gaps`; {} if the numbers do not show what is missing.

    Numbers may have a constant step (every fifth frame of a video). If steps are uneven, as in a
    video reduced to an odd rate (two of three frames), gaps cannot be recognised.
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
    return {int(i) + 1: int(steps[i]) // step - 1 for i in np.flatnonzero(steps > step)}
