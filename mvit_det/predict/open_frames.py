"""Opened videos: files, folders of frames, and arrays of frames, with one interface."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvit_det.data.decoding.reader import FRAME_RATE, OpenVideo, VideoError, open_video
from mvit_det.data.video.sampling import on_screen
from mvit_det.engine.stop import StopRequest
from mvit_det.errors import UserError
from mvit_det.predict.progress import progress
from mvit_det.predict.sources import Frame, playable


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


class FramesInMemory(OpenVideo):
    """An array of frames.

    Args:
        frames: (N, H, W, 3) uint8, BGR.
        fps: frames per second.
    """

    def __init__(self, frames: np.ndarray, fps: float) -> None:
        shape = getattr(frames, "shape", ())
        if len(shape) != 4 or shape[3] != 3 or 0 in shape or frames.dtype != np.uint8:
            what = f"{frames.dtype} of shape {shape}" if shape else type(frames).__name__
            raise UserError(
                "A video must be a path, or an array of frames (N, H, W, 3) of uint8 in the order "
                f"BGR, not {what}."
            )
        if not 0 < fps < math.inf:
            raise UserError(f"fps={fps}, the frames per second of a video, must be above 0.")
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


def gathered(
    video: OpenVideo,
    wanted: Sequence[Sequence[int]],
    on_fault: Callable[[int, VideoError], None],
    memory: int = 2**28,
) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of an opened video, each with its place in ``wanted``: (N, H, W, 3) RGB.

    Several are decoded in one go, since each alone takes decoding from the key frame of the file
    that is before it.

    Args:
        wanted: indices of the frames of each part.
        on_fault: is told of parts that cannot be decoded, which are left out.
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

    def fail(index: int, error: VideoError) -> None:
        raise error

    for _, [frame] in gathered(video, [[index] for index in range(stop)], fail, memory):
        yield np.ascontiguousarray(frame[..., ::-1])


def annotate(
    video: OpenVideo,
    path: Path,
    results: Any,
    stop: StopRequest,
    shown: Sequence[Any],
    note: Callable[[Frame], None],
) -> None:
    """Write an opened video with what is ``shown`` in each of its first frames.

    Args:
        note: is called at the end with a frame of the source, also where a frame cannot be decoded,
            but not where none has been written.
    """
    source, frame = Shown(path, playable(video.fps)), None
    images = progress(in_order(video, len(shown)), len(shown), "frames")
    try:
        for index, image in enumerate(images):
            frame = Frame(source, index, image, video.times[index])
            results.show(frame, shown[index])
            if stop.requested:
                break
    finally:
        if frame:
            note(frame)
