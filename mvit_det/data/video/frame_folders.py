"""Check that folders of frames hold the frames of one video and nothing else."""

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from mvit_det.data.decoding.frame_names import frame_names
from mvit_det.data.decoding.stream import VideoError
from mvit_det.data.file_kinds import is_video_name
from mvit_det.errors import shorten_list

logger = logging.getLogger(__name__)

_PROBED = 20  # folders to list
_LEAST = 0.1  # share of a folder's pictures that a second kind must have to be frames of its own


def mixed_kinds(names: Sequence[str]) -> str:
    """Describe the kinds of pictures by their names, "30 *.jpg, 30 flow_*.jpg"; "" if only one."""
    kinds = Counter(re.sub(r"[0-9]+", "*", name) for name in names).most_common(4)
    kinds = [(kind, count) for kind, count in kinds if count > max(1, _LEAST * len(names))]
    return ", ".join(f"{count} {kind}" for kind, count in kinds) if len(kinds) > 1 else ""


def differs(pictures: int, listed: int) -> bool:
    """Return whether a folder has another number of pictures than a list says, beyond one."""
    return abs(pictures - int(listed)) > 1


def check_frame_folders(
    title: str,
    path_of: Callable[[int], str],
    total: int,
    counts: Sequence[int] | np.ndarray | None = None,
) -> None:
    """Log folders with several kinds of pictures, or with another number than a list says.

    Optical flow beside RGB frames would become frames of the video as well.

    Args:
        title: name of the data set for the log.
        path_of: returns the path of a video, a file or a folder of frames.
        total: number of videos, of which 20 are looked at.
        counts: number of frames of each folder by the list; off by one is accepted.
    """
    checked = 0
    mixed: list[str] = []
    other: list[str] = []
    for number in range(0, total, -(-total // _PROBED)):
        path = path_of(number)
        names: list[str] = []
        if not is_video_name(path) and os.path.isdir(path):
            with suppress(VideoError):  # which the mapper reports
                names = frame_names(path).names
        if not names:
            continue
        checked += 1
        if kinds := mixed_kinds(names):
            mixed.append(f"{path} has {kinds}")
        elif counts is not None and differs(len(names), counts[number]):
            other.append(f"{path} has {len(names)}, the list says {counts[number]}")
    for found, what in (
        (mixed, "hold several kinds of pictures, all of which become frames; keep one kind there"),
        (other, "hold another number of pictures than the list says; unpack them again"),
    ):
        if found:
            numbers = len(found), checked
            logger.warning(
                "%s: %d of %d checked folders %s: %s",
                *(title, *numbers, what, shorten_list(found, 2)),
                extra={"summary": True},
            )
