"""Search for the videos of key frames, and check that the key frames are inside them."""

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
from mvit_det.data.video.discovery import find_by_stem
from mvit_det.data.video.list_rows import frame_list_rows
from mvit_det.errors import UserError, shorten_list

logger = logging.getLogger(__name__)

# Number of videos to open when checking ``start``.
_PROBED = 20
# A video may end this many seconds before its last key frame.
_SLACK = 1.0
# Second at which AVA's parts begin; smallest ``start`` at which a whole movie is recognised.
_PART_START, _LATE = 900, 300


def find_clips(
    videos: str | os.PathLike,
    names: Sequence[str],
    listed: Mapping[str, str],
    max_missing: float,
    sources: Sequence[str],
) -> list[str | None]:
    """Find the file or the folder of frames of each video: paths, None where it is absent.

    Args:
        videos: folder to search, at most two folders deep.
        names: of the videos, with or without a file ending.
        listed: {name: folder of frames} of `read_frame_lists`; empty: folders are named as videos.
        max_missing: largest share (0..1) of absent videos that is skipped with a warning.
        sources: files that the names come from, for messages.

    Raises:
        UserError: the folder does not exist, or more than ``max_missing`` of the videos are absent.
    """
    root = resolve_path(videos, "The folder of videos")
    if not root.is_dir():
        raise UserError(f"{root} is a file: give the folder of the videos that {sources[0]} names.")
    stems = [os.path.splitext(name)[0] if is_video_name(name) else name for name in names]
    if listed:
        folders = [listed.get(name) for name in names]
        paths = [name if name and (root / name).is_dir() else None for name in folders]
    else:
        paths = find_by_stem(stems, root)
    missing = [name for name, path in zip(names, paths) if path is None]
    if len(missing) == len(names) or len(missing) > max_missing * len(names):
        stem = stems[names.index(missing[0])]
        expected = f"{stem}.mp4, .mkv, ... or a folder of frames {stem}"
        if listed:
            expected = f"the folder {listed.get(missing[0], 'of it, which the frame lists lack')}"
        raise UserError(
            f"The folder of videos {root} lacks {len(missing)} of the {len(names)} videos of "
            f"{shorten_list(sources)} ({shorten_list(missing, 3)}; looked for {expected}): correct "
            f"the folder or the names in the file, or raise max_missing={max_missing}."
        )
    if missing:
        logger.warning(
            "%s: %d of %d videos are not in %s, and their key frames are left out: %s",
            *(shorten_list(sources), len(missing), len(names), root, shorten_list(missing, 10)),
            extra={"summary": True},
        )
    return [None if path is None else os.path.join(root, path) for path in paths]


def read_frame_lists(paths: Sequence[str | os.PathLike]) -> dict[str, str]:
    """Read PySlowFast's frame lists (`frame_list_rows`) as {video: folder of its frames}.

    NOTE: all pictures of a folder are used, in the order of their numbers; the published lists name
    all of them.

    Raises:
        UserError: a list cannot be read, or adds no video to the earlier ones.
    """
    folders: dict[str, str] = {}
    for path in map(Path, paths):
        known = len(folders)
        for _, fields, _ in frame_list_rows(path):
            folders.setdefault(fields[0], os.path.dirname(fields[3]))
        if len(folders) == known:
            raise UserError(f"The frame list {path} adds no video to the others: leave it out.")
    return folders


def check_times(
    paths: Sequence[str], times: Sequence[np.ndarray], *, start: float, fps: float | None
) -> None:
    """Refuse a ``start`` that does not fit the videos and their key frames.

    Args:
        paths: of the videos, up to 20 of which are opened.
        times: per video, its key frames in seconds from the beginning of the file; at least one.
        start: second of the movie at which the files begin.
        fps: frames per second of folders of frames; None: 30.

    Raises:
        UserError: a key frame is before the beginning of its file; or, in most of the opened
            videos, after the end; or the files look like whole movies although ``start`` is late.
    """
    early = next((number for number, each in enumerate(times) if each.min() < 0), None)
    if early is not None:
        raise UserError(
            f"{paths[early]} has a key frame at second {times[early].min() + start:g}, which is "
            f"before start={start:g}: set start to the second of the movie at which the files "
            "begin, 0 for whole movies."
        )
    lengths: dict[int, float] = {}
    for number in range(0, len(paths), -(-len(paths) // _PROBED)):
        length = _length_in_seconds(paths[number], fps)
        if length is not None:
            lengths[number] = length
    if not lengths:  # the mapper reports why a video cannot be read
        return
    last = {number: float(times[number].max()) for number in lengths}
    ended = [number for number, length in lengths.items() if last[number] > length + _SLACK]
    if 2 * len(ended) > len(lengths):
        number = ended[0]
        raise UserError(_end_message(paths[number], times[number], lengths[number], start))
    # A part that begins at ``start`` is rarely longer than twice that; a whole movie usually is.
    if start >= _LATE and all(start + max(start, last[n]) <= lengths[n] for n in lengths):
        number = next(iter(lengths))
        raise UserError(
            f"{paths[number]} is {lengths[number]:.0f} seconds long, and its last key frame is "
            f"second {last[number] + start:g}, so that it seems to be the whole movie, but "
            f"start={start:g} means that it begins at that second: set start=0."
        )
    if ended:
        logger.warning(
            "%d of the %d opened videos end before their last key frame: %s",
            *(len(ended), len(lengths), shorten_list(paths[number] for number in ended)),
            extra={"summary": True},
        )


def _end_message(path: str, times: np.ndarray, length: float, start: float) -> str:
    fix = "correct start, or the seconds in the csv file"
    if start == 0 and times.min() >= _PART_START and times.max() - _PART_START <= length + _SLACK:
        fix = f"if it begins at minute 15 of the movie, as AVA's are cut, set start={_PART_START}"
    elif os.path.isdir(path):
        fix = "correct start, or set fps to the frames per second of the folders"
    return (
        f"{path} is {length:.1f} seconds long, but has a key frame at second "
        f"{times.max() + start:g}, {times.max():g} s after start={start:g}; most videos do: {fix}."
    )


def _length_in_seconds(path: str, fps: float | None) -> float | None:
    """Return a video's length by its header or the numbers of its pictures; None: not known."""
    if os.path.isdir(path):
        with suppress(VideoError):
            return (int(frame_names(path).indices[-1]) + 1) / (FRAME_RATE if fps is None else fps)
        return None
    with suppress(VideoError), closing(VideoStream(path)) as stream:
        return stream.end
    return None
