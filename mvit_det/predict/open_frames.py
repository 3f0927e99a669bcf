"""A common interface to video files, folders of frames, and arrays of frames."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvit_det.data.decoding.reader import FRAME_RATE, OpenVideo, VideoError, open_video
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
    """
    if isinstance(video, (str, os.PathLike)):
        return open_video(video, fps=fps or folder_fps)
    return nullcontext(FramesInMemory(video, FRAME_RATE if fps is None else fps))


def check_bgr(given: Any, axes: int, wanted: str) -> None:
    """Raise a `UserError` unless ``given`` is a uint8 array whose last axis has size 3.

    Args:
        given: the array to check.
        axes: number of axes: 3 for an image, 4 for a video.
        wanted: how the message begins.
    """
    shape = getattr(given, "shape", ())
    if len(shape) != axes or shape[-1] != 3 or 0 in shape or given.dtype != np.uint8:
        what = f"{given.dtype} of shape {shape}" if shape else type(given).__name__
        raise UserError(
            f"{wanted} of uint8 in the order BGR, not {what}: convert it first, e.g. by cv2.imread "
            "or cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)."
        )


class FramesInMemory(OpenVideo):
    """A video from an array of frames.

    Args:
        frames: (N, H, W, 3) uint8, BGR.
        fps: frames per second.
    """

    def __init__(self, frames: np.ndarray, fps: float) -> None:
        check_bgr(frames, 4, "A video must be a path, or an array of frames (N, H, W, 3)")
        check_positive("a video", fps=fps)
        self.fps = fps
        self.times = np.arange(len(frames)) / fps
        self._frames = frames

    def frames(self, indices: Sequence[int]) -> np.ndarray:
        """Return frames (len(indices), H, W, 3) RGB; see `OpenVideo.frames`."""
        return np.ascontiguousarray(self._frames[np.asarray(indices)][..., ::-1])


@dataclass(frozen=True)
class Shown:
    """The source of the frames of an annotated video; see `sources.Frame`."""

    path: Path
    fps: float


def frame_at(video: OpenVideo, second: float) -> int:
    """Return the index of the frame that is on screen at a time, in seconds."""
    return int(on_screen(video.times, second))


def raised(place: float, error: VideoError) -> None:
    """Raise the error of a part that cannot be decoded: the default for ``on_fault``."""
    raise error


def gathered(
    video: OpenVideo,
    wanted: Sequence[Sequence[int]],
    on_fault: Callable[[int, VideoError], None] = raised,
    memory: int = 2**28,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the parts of an open video, each as (index into ``wanted``, frames (N, H, W, 3) RGB).

    Several parts are decoded together, since each one alone starts at the preceding key frame of
    the file.

    Args:
        video: an `OpenVideo`.
        wanted: frame indices of each part.
        on_fault: called with the index of a part that cannot be decoded, and the error; unless it
            raises, that part is skipped.
        memory: limit in bytes of the frames decoded at once; one part may exceed it.
    """
    if not wanted:
        return
    at_once = max(1, memory // (max(map(len, wanted)) * video.frames([0]).nbytes))
    for start in range(0, len(wanted), at_once):
        yield from _gathered(video, wanted, range(start, len(wanted))[:at_once], on_fault)


def _gathered(
    video: OpenVideo, wanted: Sequence[Sequence[int]], places: Sequence[int], on_fault: Callable
) -> Iterator[tuple[int, np.ndarray]]:
    indices = np.unique(np.concatenate([wanted[place] for place in places]))
    try:
        frames = video.frames(indices.tolist())
    except VideoError as error:
        if len(places) == 1:
            on_fault(places[0], error)
            return
        for place in places:
            yield from _gathered(video, wanted, [place], on_fault)
        return
    for place in places:
        yield place, frames[np.searchsorted(indices, wanted[place])]


def in_order(video: OpenVideo, stop: int, memory: int = 2**27) -> Iterator[np.ndarray]:
    """Yield frames 0 to ``stop`` - 1, (H, W, 3) BGR, up to the first one that is damaged.

    Args:
        video: an `OpenVideo`.
        stop: number of frames.
        memory: limit in bytes of the frames decoded at once. Smaller batches are slower, since each
            starts at the preceding key frame of the file.
    """
    for _, [frame] in gathered(video, [[index] for index in range(stop)], memory=memory):
        yield np.ascontiguousarray(frame[..., ::-1])
