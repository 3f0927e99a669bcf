"""Opened videos: files, folders of frames, and arrays of frames, with one interface."""

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


def opened(
    video: str | os.PathLike | np.ndarray, fps: float | None, folder_fps: float | None
) -> AbstractContextManager[OpenVideo]:
    """A video file, a folder of frames, or an array of frames, for a ``with`` block.

    Args:
        fps: frames per second, where the video does not tell.
        folder_fps: the same for a folder of frames of which nobody tells.
    """
    if isinstance(video, (str, os.PathLike)):
        return open_video(video, fps=fps or folder_fps)
    return nullcontext(FramesInMemory(video, FRAME_RATE if fps is None else fps))


def check_bgr(given: Any, axes: int, wanted: str) -> None:
    """Refuse what is no array of uint8 with so many axes, the last one of three channels.

    Args:
        wanted: how the sentence begins.
    """
    shape = getattr(given, "shape", ())
    if len(shape) != axes or shape[-1] != 3 or 0 in shape or given.dtype != np.uint8:
        what = f"{given.dtype} of shape {shape}" if shape else type(given).__name__
        raise UserError(
            f"{wanted} of uint8 in the order BGR, not {what}: convert it first, e.g. by cv2.imread or "
            "cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)."
        )


class FramesInMemory(OpenVideo):
    """An array of frames.

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
        """See `OpenVideo.frames`."""
        return np.ascontiguousarray(self._frames[np.asarray(indices)][..., ::-1])


@dataclass(frozen=True)
class Shown:
    """Where the frames of an annotated video come from; see `sources.Frame`."""

    path: Path
    fps: float


def shown_at(video: OpenVideo, second: float) -> int:
    """The index of the frame of an opened video that is on screen at a time."""
    return int(on_screen(video.times, second))


def raised(place: float, error: VideoError) -> None:
    """What becomes of a part that cannot be decoded, where nobody minds it."""
    raise error


def gathered(
    video: OpenVideo,
    wanted: Sequence[Sequence[int]],
    on_fault: Callable[[int, VideoError], None] = raised,
    memory: int = 2**28,
) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of an opened video, each with its place in ``wanted``: (N, H, W, 3) RGB.

    Several are decoded in one go, since each alone takes decoding from the key frame of the file
    that is before it.

    Args:
        wanted: indices of the frames of each part.
        on_fault: is told of parts that cannot be decoded, and unless it raises they are left out.
        memory: bytes of the frames that are decoded at once, where one part takes no more.
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
    """Frames 0 to ``stop`` - 1 of an opened video, (H, W, 3) BGR; those before a damaged one come.

    Args:
        memory: bytes of the frames that are decoded at once. Few at once cost time, since decoding
            starts anew from the key frame before them.
    """

    for _, [frame] in gathered(video, [[index] for index in range(stop)], memory=memory):
        yield np.ascontiguousarray(frame[..., ::-1])
