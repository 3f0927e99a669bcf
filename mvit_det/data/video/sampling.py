"""Sampling of a clip's T frames: evenly in time, one per segment, or around a key frame."""

import math
import random
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from mvit_det.errors import check_count, check_number, check_positive

# Times at a constant rate deviate from the regular grid by at most this share of an interval.
_ROUNDING = 1e-3
# Seconds: more than the rounding of times, and less than the interval between any two frames.
_SAME = 2e-6


def on_screen(times: np.ndarray, seconds: np.ndarray | float) -> np.ndarray:
    """Return the index of the frame on screen at each time: the last that has begun, or frame 0.

    Args:
        times: (N,) seconds at which frames begin, ascending.
        seconds: a scalar or an array, by the same clock.

    Returns:
        Frame indices, 0..N - 1, of the shape of ``seconds``.
    """
    return np.maximum(np.searchsorted(times, np.asarray(seconds) + _SAME, side="right") - 1, 0)


@dataclass
class _RateSampling:
    """Base of samplings of T frames, tau apart at the target rate: the paper's T x tau."""

    num_frames: int
    sampling_rate: int
    target_fps: float = 30.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_count(name, num_frames=self.num_frames)
        check_number(name, "at least 0", lambda rate: rate >= 0, sampling_rate=self.sampling_rate)
        check_positive(name, target_fps=self.target_fps)


class DenseSampling(_RateSampling):
    """T frames, tau apart at the target rate: the T x tau of Kinetics.

    The rule is that of PySlowFast (slowfast/datasets/decoder.py: `get_start_end_idx`,
    `temporal_sampling`).

    A clip spans T * tau / target_fps seconds at any rate of the video: in a video of ``fps``, that
    is ``span = T * tau / target_fps * fps`` frames. Its T positions are linearly spaced from
    ``start`` to ``start + span - 1``, both included, and rounded down. In a shorter video the last
    frame is repeated.

    If the rate varies, positions are times in units of the mean interval between two frames, and
    the frame on screen at that time is taken. A clip then spans the same time, and at a constant
    rate the result is exactly that of the rule above.

    Args:
        num_frames: T, at least 1.
        sampling_rate: tau, in frames of a video of ``target_fps``; 0: all frames are the same.
        target_fps: frames per second, above 0.

    Raises:
        UserError: an argument is out of its range.
    """

    def train(self, times: np.ndarray) -> np.ndarray:
        """Return the frame indices (T,) of a clip at a random position.

        Args:
            times: (N,) seconds at which frames begin, ascending; only the differences count.
        """
        return self._frames(times, random.uniform(0, self._slack(times)))

    def test(self, times: np.ndarray, clip: int, clips: int) -> np.ndarray:
        """Return the frame indices (T,) of one of evenly spaced clips; a single one is centred.

        Args:
            times: (N,) seconds at which frames begin, ascending; only the differences count.
            clip: index of the clip, 0..clips - 1.
            clips: number of clips of the video, at least 1.

        Raises:
            ValueError: ``clip`` is not within 0..clips - 1.
        """
        _check_clip(clip, clips)
        slack = self._slack(times)
        start = math.floor(slack / 2) if clips == 1 else clip * math.floor(slack / (clips - 1))
        return self._frames(times, start)

    def _span(self, times: np.ndarray) -> float:
        span = self.num_frames * self.sampling_rate / self.target_fps * _mean_rate(times)
        return max(1.0, span)

    def _slack(self, times: np.ndarray) -> float:
        return max(len(times) - self._span(times), 0)

    def _frames(self, times: np.ndarray, start: float) -> np.ndarray:
        end = start + self._span(times) - 1
        # NOTE: in single precision, since PySlowFast's frame indices depend on its rounding.
        positions = torch.linspace(start, end, self.num_frames).clamp(0, len(times) - 1).numpy()
        grid = np.arange(len(times))
        begins = (times - times[0]) * _mean_rate(times)  # in units of the mean interval
        if np.abs(begins - grid).max() > _ROUNDING:
            grid = begins
        return np.searchsorted(grid, positions, side="right") - 1


@dataclass
class SegmentSampling:
    """One frame from each of T equal segments of the whole video, for Something-Something-v2.

    The rule is that of PySlowFast (slowfast/datasets/ssv2.py: `get_seq_frames`).

    Segment i is frames round(i * s) to round((i + 1) * s), both included, with s = (N - 1) / T for
    N frames; halves are rounded to even. If N <= T, frames are repeated.

    Args:
        num_frames: T, at least 1.

    Raises:
        UserError: ``num_frames`` is below 1.
    """

    num_frames: int

    def __post_init__(self) -> None:
        check_count("SegmentSampling", num_frames=self.num_frames)

    def train(self, times: np.ndarray) -> np.ndarray:
        """Return frame indices (T,), random in each segment.

        Args:
            times: (N,) seconds at which frames begin; only their number counts.
        """
        starts, ends = self._segments(times)
        return np.array(
            [random.randint(*segment) for segment in zip(starts.tolist(), ends.tolist())]
        )

    def test(self, times: np.ndarray, clip: int, clips: int) -> np.ndarray:
        """Return frame indices (T,): the middle of each segment.

        With several clips, which the paper does not use here, clip k of K takes the frame at
        (k + 1/2) / K of each segment, so that together they cover more of the video.

        Args:
            times: (N,) seconds at which frames begin; only their number counts.
            clip: index of the clip, 0..clips - 1.
            clips: number of clips of the video, at least 1.

        Raises:
            ValueError: ``clip`` is not within 0..clips - 1.
        """
        _check_clip(clip, clips)
        starts, ends = self._segments(times)
        return starts + (ends - starts) * (2 * clip + 1) // (2 * clips)

    def _segments(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the last frame index of each segment, (T,) each."""
        edges = np.arange(self.num_frames + 1) * ((len(times) - 1) / self.num_frames)
        edges = np.round(edges).astype(np.int64)
        return edges[:-1], edges[1:]


class KeyFrameSampling(_RateSampling):
    """T frames around a key frame, tau apart at the target rate: the T x tau of AVA.

    Frame k is the frame on screen ``(k * tau - T * tau // 2) / target_fps`` seconds from the key
    frame, which is element T / 2. At the ends of the video its first or last frame is repeated. At
    the target rate these are the frame indices of PySlowFast (slowfast/datasets/utils.py:
    `get_sequence`); in videos of other rates, and if the rate varies, a clip spans the same time.

    Args:
        num_frames: T, at least 1.
        sampling_rate: tau, in frames of a video of ``target_fps``; 0: all are the key frame.
        target_fps: frames per second; 30 is the rate at which AVA's frames are extracted.

    Raises:
        UserError: an argument is out of its range.
    """

    def around(self, times: np.ndarray, time: float) -> np.ndarray:
        """Return the frame indices (T,) of the clip around a key frame.

        Args:
            times: (N,) seconds at which frames begin, ascending.
            time: of the key frame in seconds, by the same clock.
        """
        steps = np.arange(self.num_frames) * self.sampling_rate
        steps = steps - self.num_frames * self.sampling_rate // 2
        return on_screen(times, time + steps / self.target_fps)


def _mean_rate(times: np.ndarray) -> float:
    """Return frames per second, exact for rates such as 30 or 30000/1001."""
    if times[-1] <= times[0]:
        return 1.0  # a single frame has no rate
    rate = (len(times) - 1) / float(times[-1] - times[0])
    exact = float(Fraction(rate).limit_denominator(1001))
    return exact if math.isclose(rate, exact, rel_tol=1e-9) else rate


def _check_clip(clip: int, clips: int) -> None:
    if not 0 <= clip < clips:
        raise ValueError(f"clip {clip} of {clips}: clips count from 0 to {clips - 1}")
