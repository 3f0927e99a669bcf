"""Clips around the key frames of videos, and the person boxes that a caller gives for them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvit_det.data.actions.mapper import OUTSIDE
from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.errors import UserError, shorten_list
from mvit_det.predict.open_frames import frame_at, raise_error, read_groups


@dataclass(frozen=True)
class KeyClip:
    """The frames around a key frame.

    Attributes:
        second: time in the video, at least 0.
        frame: index of the key frame.
        clip: (T, H, W, 3) uint8, RGB.
        picture: (H, W, 3) uint8, RGB, the key frame.
    """

    second: float
    frame: int
    clip: np.ndarray
    picture: np.ndarray


def key_clips(
    video: OpenVideo,
    seconds: Sequence[float],
    sampling: Any,
    on_fault: Callable[[float, VideoError], None] = raise_error,
) -> Iterator[KeyClip]:
    """Yield the clip around each of ``seconds`` of a video, in order.

    Args:
        video: an open video.
        seconds: times of the key frames, at least 0.
        sampling: chooses the frames of a clip, as `KeyFrameSampling` does.
        on_fault: called with a second around which a frame cannot be decoded, and the error; unless
            it raises, that second is skipped. By default it raises the error.
    """
    keys = [frame_at(video, second) for second in seconds]
    # plus the key frame itself, which need not be in the clip
    groups = [[*sampling.around(video.times, s), key] for s, key in zip(seconds, keys)]
    for number, frames in read_groups(video, groups, lambda n, error: on_fault(seconds[n], error)):
        yield KeyClip(seconds[number], keys[number], frames[:-1], frames[-1])


def split_seconds(video: OpenVideo, seconds: Sequence[float]) -> tuple[list[float], list[float]]:
    """Split seconds into those inside a video and those outside, both sorted.

    Up to a second outside counts as its first or last frame, as in evaluation: lists of key frames
    and videos are cut by different rules.
    """
    ends = -OUTSIDE, video.end + OUTSIDE
    inside = [second for second in sorted(seconds) if ends[0] <= second <= ends[1]]
    return inside, sorted(set(seconds).difference(inside))


def describe_outside(video: OpenVideo, seconds: Sequence[float]) -> str:
    """Describe key frames, given in seconds, that are outside a video."""
    listed = shorten_list([f"{second:g}" for second in seconds], limit=3)
    return f"it lasts {video.end:.4g} s, and has no second {listed}"


def parse_boxes(boxes: Mapping[float, Any]) -> dict[float, np.ndarray]:
    """Convert boxes by second to float64 (N, 4), x1, y1, x2, y2 as fractions of the frame.

    Raises:
        UserError: a box is not inside [0, 1] or has no area, or an array is not (N, 4).
    """
    if not isinstance(boxes, Mapping) or not boxes:
        raise UserError(
            "boxes must be person boxes by seconds, such as {2.0: [[0.1, 0.2, 0.5, 0.9]]}, not "
            f"{type(boxes).__name__ if boxes else 'nothing'}."
        )
    by_second = {}
    for second, values in boxes.items():
        array = np.asarray(values, dtype=np.float64)
        array = array.reshape(-1, 4) if array.size == 0 else array
        if array.ndim != 2 or array.shape[1] != 4:
            raise UserError(f"boxes[{second!r}] must be (N, 4), not of shape {array.shape}.")
        wrong = ~((array >= 0) & (array <= 1)).all(axis=1)
        wrong |= (array[:, 2:] <= array[:, :2]).any(axis=1)
        if wrong.any():
            raise UserError(
                f"boxes[{second!r}] has {array[wrong][0].tolist()}: a box must be x1, y1, x2, y2 "
                "as fractions of the frame, from 0 to 1, with x1 < x2 and y1 < y2; divide pixels "
                "by its width and height."
            )
        by_second[float(second)] = array
    return by_second
