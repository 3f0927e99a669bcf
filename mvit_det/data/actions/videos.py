"""The videos that key frames are in: where they lie, and whether the key frames can be theirs."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from mvit_det.data.decoding.frame_names import frame_names
from mvit_det.data.decoding.reader import FRAME_RATE
from mvit_det.data.decoding.stream import VideoError, VideoStream
from mvit_det.data.file_kinds import is_video_name
from mvit_det.data.paths import resolve_path
from mvit_det.data.video.discovery import by_stem
from mvit_det.data.video.list_rows import frame_list_rows
from mvit_det.errors import UserError, some

logger = logging.getLogger(__name__)

# So many videos show at which second of a movie they begin.
_PROBED = 20
# Seconds by which a video may be shorter than its last key frame needs.
_SLACK = 1.0
# As AVA's are cut; and from which second on whole movies can be told from such parts.
_CUT, _LATE = 900, 300


def find_clips(
    videos: str | os.PathLike,
    names: Sequence[str],
    listed: Mapping[str, str],
    max_missing: float,
    sources: Sequence[str],
) -> list[str | None]:
    """For each name the path of its file or folder; None: not there.

    Args:
        listed: by `read_frame_lists`: folders of frames; empty: they are called as the names.
        max_missing: the largest share of absent videos that is skipped.
        sources: the files that have the names, for messages.

    Raises:
        UserError: there is no such folder, or too few of the videos are in it.
    """
    root = resolve_path(videos, "The folder of videos")
    if not root.is_dir():
        raise UserError(f"{root} is a file: give the folder of the videos that {sources[0]} names.")
    stems = [os.path.splitext(name)[0] if is_video_name(name) else name for name in names]
    if listed:
        found = [listed.get(name) for name in names]
        found = [name if name and (root / name).is_dir() else None for name in found]
    else:
        found = by_stem(stems, root)
    missing = [name for name, path in zip(names, found) if path is None]
    if len(missing) == len(names) or len(missing) > max_missing * len(names):
        stem = stems[names.index(missing[0])]
        looked = f"{stem}.mp4, .mkv, ... or a folder of frames {stem}"
        if listed:
            looked = f"the folder {listed.get(missing[0], 'of it, which the frame lists lack')}"
        raise UserError(
            f"The folder of videos {root} lacks {len(missing)} of the {len(names)} videos of "
            f"{some(sources)} ({some(missing, 3)}; looked for {looked}): correct the folder or the "
            f"names in the file, or raise max_missing={max_missing}."
        )
    if missing:
        logger.warning(
            "%s: %d of %d videos are not in %s, and their key frames are left out: %s",
            *(some(sources), len(missing), len(names), root, some(missing, 10)),
        )
    return [None if path is None else os.path.join(root, path) for path in found]


def read_frame_lists(paths: Sequence[str | os.PathLike]) -> dict[str, str]:
    """{video: the folder of its frames} of PySlowFast's lists (`frame_list_rows`).

    NOTE: all pictures of a folder are used, in the order of their numbers; the published lists have
    them all.
    """
    folders: dict[str, str] = {}
    for path in map(Path, paths):
        known = len(folders)
        for _, fields in frame_list_rows(path):
            folders.setdefault(fields[0], os.path.dirname(fields[3]))
        if len(folders) == known:
            raise UserError(f"The frame list {path} names no further video: give another, or none.")
    return folders


def check_times(
    paths: Sequence[str], times: Sequence[np.ndarray], *, start: float, fps: float | None
) -> None:
    """Refuse a ``start`` by which key frames are not where they should be.

    Args:
        paths: of the videos, of which some are looked into.
        times: of each, its key frames in seconds from the beginning of the file; at least one.

    Raises:
        UserError: key frames lie before the beginning, or of most videos behind the end; or the files
            look like whole movies while ``start`` says that they begin later.
    """
    early = next((number for number, each in enumerate(times) if each.min() < 0), None)
    if early is not None:
        raise UserError(
            f"{paths[early]} has a key frame at second {times[early].min() + start:g}, which lies before "
            f"start={start:g}: set start to the second of the movie that the files begin with, 0 for "
            "whole movies."
        )
    probed = range(0, len(paths), -(-len(paths) // _PROBED))
    lengths = {number: _seconds(paths[number], fps) for number in probed}
    lengths = {number: length for number, length in lengths.items() if length is not None}
    if not lengths:  # what keeps a video from being read is said by the mapper
        return
    last = {number: float(times[number].max()) for number in lengths}
    behind = [number for number, length in lengths.items() if last[number] > length + _SLACK]
    if 2 * len(behind) > len(lengths):
        number = behind[0]
        raise UserError(_behind(paths[number], times[number], lengths[number], start))
    # A part with few key frames, all early, is long as well, but hardly as long as what precedes it.
    if start >= _LATE and all(start + max(start, last[n]) <= lengths[n] for n in lengths):
        number = next(iter(lengths))
        raise UserError(
            f"{paths[number]} is {lengths[number]:.0f} seconds long, and its last key frame is second "
            f"{last[number] + start:g}, so that it seems to be the whole movie, while start={start:g} "
            "says that it begins there: set start=0."
        )
    if behind:
        logger.warning(
            "%d of %d videos that were looked into end before their last key frame: %s",
            *(len(behind), len(lengths), some(paths[number] for number in behind)),
        )


def _behind(path: str, times: np.ndarray, length: float, start: float) -> str:
    fix = "correct start, or the seconds in the csv file"
    if start == 0 and times.min() >= _CUT and times.max() - _CUT <= length + _SLACK:
        fix = f"if it begins at minute 15 of the movie, as AVA's are cut, set start={_CUT}"
    elif os.path.isdir(path):
        fix = "correct start, or set fps to the frames per second of the folders"
    return (
        f"{path} is {length:.1f} seconds long, but has a key frame at second {times.max() + start:g}, "
        f"{times.max():g} seconds after start={start:g}, and most videos are like it: {fix}."
    )


def _seconds(path: str, fps: float | None) -> float | None:
    """How long a video is, by its header or the numbers of its pictures; None if that is not known."""
    if os.path.isdir(path):
        with suppress(VideoError):
            return (int(frame_names(path).places[-1]) + 1) / (FRAME_RATE if fps is None else fps)
        return None
    with suppress(VideoError), closing(VideoStream(path)) as stream:
        return stream.end
    return None
