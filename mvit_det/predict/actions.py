"""Clips around the key frames of videos, and the person boxes given for them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvit_det.data.actions.mapper import OUTSIDE
from mvit_det.data.decoding.reader import VideoError
from mvit_det.errors import UserError, shorten_list
from mvit_det.predict.open_frames import frame_at, gathered, raised


@dataclass(frozen=True)
class KeyClip:
    """The frames around a key frame.

    Attributes:
        second: time in the video, from 0 on.
        frame: index of the key frame.
        clip: (T, H, W, 3) uint8, RGB.
        picture: (H, W, 3) uint8, RGB, the key frame.
    """

    second: float
    frame: int
    clip: np.ndarray
    picture: np.ndarray


def key_clips(
    video: Any,
    seconds: Sequence[float],
    sampling: Any,
    on_fault: Callable[[float, VideoError], None] = raised,
) -> Iterator[KeyClip]:
    """Yield the clip around each of ``seconds`` of an open video, in order.

    Args:
        video: an `OpenVideo`.
        seconds: of the key frames, from 0 on.
        sampling: chooses the frames of a clip.
        on_fault: called with a second around which a frame cannot be decoded, and the error; unless
            it raises, that second is skipped.
    """
    keys = [frame_at(video, second) for second in seconds]
    # plus the key frame itself, which need not be in the clip
    wanted = [[*sampling.around(video.times, s), key] for s, key in zip(seconds, keys)]
    told = lambda place, error: on_fault(seconds[place], error)  # noqa: E731
    for place, frames in gathered(video, wanted, told):
        yield KeyClip(seconds[place], keys[place], frames[:-1], frames[-1])


def within(video: Any, seconds: Sequence[float]) -> tuple[list[float], list[float]]:
    """Split seconds into those inside an open video, sorted, and those outside.

    Up to a second outside counts as its first or last frame, as in evaluation: lists of key frames
    and videos are cut by different rules.
    """
    ends = -OUTSIDE, video.end + OUTSIDE
    inside = [second for second in sorted(seconds) if ends[0] <= second <= ends[1]]
    return inside, sorted(set(seconds).difference(inside))


def not_within(video: Any, seconds: Sequence[float]) -> str:
    """Describe key frames that are outside an open video."""
    told = shorten_list([f"{second:g}" for second in seconds], limit=3)
    return f"it lasts {video.end:.4g} s, and has no second {told}"


def given_boxes(boxes: Mapping[float, Any]) -> dict[float, np.ndarray]:
    """Convert boxes by second to float64 (N, 4), x1, y1, x2, y2 as fractions of the frame.

    Raises:
        UserError: a box is not inside [0, 1], or has no area, or the shape is another.
    """
    if not isinstance(boxes, Mapping) or not boxes:
        raise UserError(
            "boxes must be person boxes by seconds, such as {2.0: [[0.1, 0.2, 0.5, 0.9]]}, not "
            f"{type(boxes).__name__ if boxes else 'nothing'}."
        )
    known = {}
    for second, given in boxes.items():
        array = np.asarray(given, dtype=np.float64)
        array = array.reshape(-1, 4) if array.size == 0 else array
        if array.ndim != 2 or array.shape[1] != 4:
            raise UserError(f"boxes[{second!r}] must be (N, 4), not of shape {array.shape}.")
        wrong = ~((array >= 0) & (array <= 1)).all(axis=1)
        wrong |= (array[:, 2:] <= array[:, :2]).any(axis=1)
        if wrong.any():
            raise UserError(
                f"boxes[{second!r}] has {array[wrong][0].tolist()}: a box must be x1, y1, x2, y2 "
                "as shares of the frame, from 0 to 1, with x1 < x2 and y1 < y2; divide pixels by "
                "its width and height."
            )
        known[float(second)] = array
    return known
