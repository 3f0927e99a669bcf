"""A common interface to video files, folders of frames, and arrays of frames."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from mvit_det.data.decoding.reader import FRAME_RATE, OpenVideo, VideoError, open_video
from mvit_det.data.decoding.resizing import resized
from mvit_det.data.video.sampling import on_screen
from mvit_det.errors import UserError, check_positive


def open_frames(
    video: str | os.PathLike | np.ndarray, fps: float | None, folder_fps: float | None
) -> AbstractContextManager[OpenVideo]:
    """Open a video file, a folder of frames, or an array of frames, for a ``with`` block.

    Args:
        video: a path, or an array (N, H, W, 3) uint8, BGR.
        fps: frames per second, if the video does not specify it.
        folder_fps: the default of ``fps`` for folders of frames.

    Raises:
        VideoError: on entry, if a path has no frames that can be decoded.
        UserError: the array has another form, or ``fps`` is not above 0.
    """
    if isinstance(video, (str, os.PathLike)):
        return open_video(video, fps=fps or folder_fps)
    return nullcontext(FramesInMemory(video, FRAME_RATE if fps is None else fps))


def check_bgr(image: Any, axes: int, requirement: str) -> None:
    """Raise a `UserError` unless ``image`` is a uint8 array whose last axis has size 3.

    Args:
        image: the array to check.
        axes: number of axes: 3 for an image, 4 for a video.
        requirement: start of the message.
    """
    shape: tuple[int, ...] = getattr(image, "shape", ())
    if len(shape) != axes or shape[-1] != 3 or 0 in shape or image.dtype != np.uint8:
        actual = f"{image.dtype} of shape {shape}" if shape else type(image).__name__
        raise UserError(
            f"{requirement} of uint8 in the order BGR, not {actual}: convert it first, e.g. by "
            "cv2.imread or cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)."
        )


class FramesInMemory(OpenVideo):
    """A video from an array of frames.

    Args:
        frames: (N, H, W, 3) uint8, BGR.
        fps: frames per second.

    Raises:
        UserError: the array has another form, or ``fps`` is not above 0.
    """

    def __init__(self, frames: np.ndarray, fps: float) -> None:
        check_bgr(frames, 4, "A video must be a path, or an array of frames (N, H, W, 3)")
        check_positive("a video", fps=fps)
        self.fps = fps
        self.times = np.arange(len(frames)) / fps
        self._frames = frames

    def _read(self, wanted: list[int], short_side: int | None) -> dict[int, np.ndarray]:
        return {index: resized(self._frames[index][..., ::-1], short_side) for index in wanted}


def frame_at(video: OpenVideo, second: float) -> int:
    """Return the index of the frame that is on screen at a time, in seconds."""
    return int(on_screen(video.times, second))


def raise_error(place: float, error: VideoError) -> None:
    """Raise the error of frames that cannot be decoded: the default for ``on_fault``."""
    raise error


def read_groups(
    video: OpenVideo,
    groups: Sequence[Sequence[int]],
    on_fault: Callable[[int, VideoError], None] = raise_error,
    memory: int = 2**28,
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode groups of frames: yield (index into ``groups``, frames (N, H, W, 3) uint8 RGB).

    Several groups are decoded together, since each one alone starts at the preceding key frame of
    the file.

    Args:
        video: an open video.
        groups: frame indices of each group.
        on_fault: called with the index of a group that cannot be decoded, and the error; unless it
            raises, that group is skipped. By default it raises the error.
        memory: limit in bytes of the frames decoded at once; one group may exceed it.
    """
    if not groups:
        return
    at_once = max(1, memory // (max(map(len, groups)) * video.frames([0]).nbytes))
    for start in range(0, len(groups), at_once):
        yield from _read_together(video, groups, range(start, len(groups))[:at_once], on_fault)


def _read_together(
    video: OpenVideo, groups: Sequence[Sequence[int]], numbers: Sequence[int], on_fault: Callable
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode the groups with these numbers together; one by one if a frame is damaged."""
    indices = np.unique(np.concatenate([groups[number] for number in numbers]))
    try:
        frames = video.frames(indices.tolist())
    except VideoError as error:
        if len(numbers) == 1:
            on_fault(numbers[0], error)
            return
        for number in numbers:
            yield from _read_together(video, groups, [number], on_fault)
        return
    for number in numbers:
        yield number, frames[np.searchsorted(indices, groups[number])]


def read_frames(video: OpenVideo, stop: int, memory: int = 2**27) -> Iterator[np.ndarray]:
    """Yield frames 0 to ``stop`` - 1, (H, W, 3) uint8 BGR, up to the first one that is damaged.

    Args:
        video: an open video.
        stop: number of frames.
        memory: limit in bytes of the frames decoded at once. Smaller batches are slower, since each
            starts at the preceding key frame of the file.

    Raises:
        VideoError: a frame is damaged.
    """
    for _, [frame] in read_groups(video, [[index] for index in range(stop)], memory=memory):
        yield np.ascontiguousarray(frame[..., ::-1])
