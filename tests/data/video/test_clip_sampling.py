"""Frame indices of clips: by hand for four videos, those of PySlowFast, and at variable rates.

PySlowFast's indices were computed with `get_multiple_start_end_idx` and `temporal_sampling` of its
datasets/decoder.py, and `get_seq_frames` of its datasets/ssv2.py.
"""

import random

import numpy as np
import pytest

from mvit_det.data.video.sampling import DenseSampling, SegmentSampling
from mvit_det.errors import UserError

# Frames, frames per second, T, tau -> first frame of the middle clip, then how far apart the first
# frames of 5 and of 10 clips are, all rounded down; frames of the first clip.
DENSE = {
    # 16 * 4 / 30 * 28 = 59.73 frames, 58.73 / 15 = 3.9156 apart;
    # 280 - 59.73 = 220.27: / 2 = 110.13, / 4 = 55.07, / 9 = 24.47.
    (280, 28, 16, 4): (
        (110, 55, 24),
        "0 3 7 11 15 19 23 27 31 35 39 43 46 50 54 58",
    ),
    # 32 * 3 / 30 * 30 = 96.00 frames, 95.00 / 31 = 3.0645 apart;
    # 300 - 96.00 = 204.00: / 2 = 102.00, / 4 = 51.00, / 9 = 22.67.
    (300, 30, 32, 3): (
        (102, 51, 22),
        "0 3 6 9 12 15 18 21 24 27 30 33 36 39 42 45 49 52 55 58 61 64 67 70 73 76 79 82 85 "
        "88 91 95",
    ),
    # 40 * 3 / 30 * 25 = 100.00 frames, 99.00 / 39 = 2.5385 apart;
    # 164 - 100.00 = 64.00: / 2 = 32.00, / 4 = 16.00, / 9 = 7.11.
    (164, 25, 40, 3): (
        (32, 16, 7),
        "0 2 5 7 10 12 15 17 20 22 25 27 30 33 35 38 40 43 45 48 50 53 55 58 60 63 66 68 71 "
        "73 76 78 81 83 86 88 91 93 96 99",
    ),
    # 16 * 4 / 30 * 6 = 12.80 frames, 11.80 / 15 = 0.7867 apart;
    # 57 - 12.80 = 44.20: / 2 = 22.10, / 4 = 11.05, / 9 = 4.91.
    (57, 6, 16, 4): (
        (22, 11, 4),
        "0 0 1 2 3 3 4 5 6 7 7 8 9 10 11 11",
    ),
}

# Frames, T -> the frame of each segment, (start + end) // 2. Of 57 frames in 16 segments: each is
# 56 / 16 = 3.5 long, edges 0, 3.5, 7, 10.5, ... round to 0, 4, 7, 10 (halves to even): 2, 5, 8, ...
SEGMENTS = {
    (280, 16): ("8 26 43 61 78 96 113 131 148 165 183 200 218 235 253 270"),
    (300, 32): (
        "4 14 23 32 42 51 60 70 79 88 98 107 116 126 135 145 154 163 173 182 191 201 210 219 "
        "229 238 247 257 266 275 285 294"
    ),
    (164, 40): (
        "2 6 10 14 18 22 26 31 35 39 43 47 51 55 59 63 67 71 75 79 84 88 92 96 100 104 108 "
        "112 116 120 124 128 132 136 141 145 149 153 157 161"
    ),
    (57, 16): ("2 5 8 12 16 19 22 26 30 33 36 40 44 47 50 54"),
}


def listed(numbers: str) -> np.ndarray:
    return np.array(numbers.split(), dtype=int)


def times_of(count: int, fps: float) -> np.ndarray:
    return np.arange(count) / fps


@pytest.mark.parametrize("case", DENSE, ids=str)
def test_dense_clips_by_hand(case):
    count, fps, num_frames, rate = case
    (middle, of_5, of_10), first = DENSE[case]
    sampling, times = DenseSampling(num_frames, rate), times_of(count, fps)
    np.testing.assert_array_equal(sampling.test(times, 0, 1), middle + listed(first))
    for clips, step in ((5, of_5), (10, of_10)):
        for clip in range(clips):
            expected = clip * step + listed(first)
            np.testing.assert_array_equal(sampling.test(times, clip, clips), expected)


@pytest.mark.parametrize("case", SEGMENTS, ids=str)
def test_segments_by_hand(case):
    count, num_frames = case
    middles = SegmentSampling(num_frames).test(times_of(count, 12), 0, 1)
    np.testing.assert_array_equal(middles, listed(SEGMENTS[case]))


@pytest.mark.parametrize(
    "count, fps, num_frames, rate, seed, expected",
    [
        (300, 30, 16, 4, 350, "210 214 218 222 226 231 235 239 243 247 252 256 260 264 268 273"),
        (280, 28, 16, 4, 328, "141 145 149 153 157 161 164 168 172 176 180 184 188 192 196 200"),
        (300, 30000 / 1001, 8, 8, 345, "181 190 199 208 217 226 235 244"),
        (57, 6, 16, 4, 83, "21 22 23 24 25 25 26 27 28 29 29 30 31 32 32 33"),
        (10, 30, 16, 4, 60, "0 4 8 9 9 9 9 9 9 9 9 9 9 9 9 9"),  # shorter than the span
    ],
)
def test_training_clips_equal_those_of_pyslowfast(count, fps, num_frames, rate, seed, expected):
    random.seed(seed)
    drawn = DenseSampling(num_frames, rate).train(times_of(count, fps))
    np.testing.assert_array_equal(drawn, listed(expected))


@pytest.mark.parametrize(
    "count, num_frames, expected",
    [
        (100, 16, "1 9 19 25 26 36 40 48 53 60 68 68 78 81 87 98"),
        (
            57,
            32,
            "0 3 4 5 9 10 11 13 15 18 19 19 23 23 26 28 29 31 33 33 37 38 40 41 44 46 46 49 49 51 "
            "53 56",
        ),
        (9, 16, "0 1 2 2 2 2 4 4 4 5 5 6 6 7 8 8"),
        (1, 8, "0 0 0 0 0 0 0 0"),
    ],
)
def test_training_segments_equal_those_of_pyslowfast(count, num_frames, expected):
    random.seed(count)  # as PySlowFast's were drawn
    drawn = SegmentSampling(num_frames).train(times_of(count, 12))
    np.testing.assert_array_equal(drawn, listed(expected))


def test_training_clips_start_anywhere_and_segments_draw_all():
    times = times_of(100, 30)
    starts = {int(DenseSampling(16, 4).train(times)[0]) for _ in range(1000)}
    assert starts == set(range(36))  # 100 - 64 = 36 frames of slack
    drawn = np.stack([SegmentSampling(4).train(times_of(21, 30)) for _ in range(1000)])
    for segment, frames in enumerate(drawn.T):  # (21 - 1) / 4 = 5 frames on
        assert set(frames.tolist()) == set(range(5 * segment, 5 * segment + 6))


@pytest.mark.parametrize("sampling", [DenseSampling(16, 4), SegmentSampling(16)])
@pytest.mark.parametrize("count", [1, 2, 15, 16, 63, 64, 65])
def test_short_videos(sampling, count):
    for times in (times_of(count, 30), np.cumsum([0, *[0.01, 0.2] * count])[:count]):
        for frames in (
            sampling.train(times),
            sampling.test(times, 0, 1),
            sampling.test(times, 4, 5),
        ):
            assert frames.shape == (16,) and frames.dtype.kind == "i"
            assert 0 <= frames[0] and (np.diff(frames) >= 0).all() and frames[-1] < count


def test_one_frame_per_clip():
    assert DenseSampling(1, 8).test(times_of(100, 30), 0, 1).tolist() == [46]  # (100 - 8) / 2


def test_the_target_rate_scales_the_span():
    times = times_of(300, 30)
    np.testing.assert_array_equal(
        DenseSampling(16, 4, target_fps=15).test(times, 1, 3),
        DenseSampling(16, 8).test(times, 1, 3),
    )


def test_a_variable_rate_is_sampled_by_time():
    # 5 s at 60 frames per second, then 5 s at 12: 360 frames, 36 per second in the mean.
    times = np.concatenate([np.arange(300) / 60, 5 + np.arange(61) / 12])
    sampling = DenseSampling(16, 4)  # 64 / 30 = 2.13 s
    fast, slow = sampling.test(times, 0, 5), sampling.test(times, 4, 5)
    interval = (64 / 30 - 1 / 36) / 15  # span without one mean interval, as at a constant rate
    for clip, frame_time in ((fast, 1 / 60), (slow, 1 / 12)):
        wanted = times[clip[0]] + interval * np.arange(16)
        assert np.abs(times[clip] - wanted).max() <= frame_time
    assert fast[-1] - fast[0] > 4 * (slow[-1] - slow[0]) > 0
    np.testing.assert_array_equal(sampling.test(times + 100, 0, 5), fast)


def test_rounded_times_are_those_of_a_constant_rate():
    # As sums, or as single precision gives them; no frame number may change.
    sampling = DenseSampling(16, 4)
    for fps, count in ((30, 300), (30000 / 1001, 299), (28, 280)):
        exact = times_of(count, fps)
        rounded = (np.cumsum(np.full(count, 1 / fps)) - 1 / fps, exact.astype(np.float32))
        for times in rounded:
            for clip in range(10):
                np.testing.assert_array_equal(
                    sampling.test(times, clip, 10), sampling.test(exact, clip, 10)
                )


def test_several_clips_of_segments_have_different_frames():
    sampling, times = SegmentSampling(4), times_of(41, 12)  # segments of 10 frames
    assert sampling.test(times, 0, 1).tolist() == [5, 15, 25, 35]
    assert sampling.test(times, 0, 2).tolist() == [2, 12, 22, 32]
    assert sampling.test(times, 1, 2).tolist() == [7, 17, 27, 37]


def test_without_a_distance_all_frames_are_the_same():
    assert DenseSampling(4, 0).test(times_of(100, 30), 0, 1).tolist() == [49] * 4  # (100 - 1) / 2


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DenseSampling(16, 4, target_fps=0), "target_fps=0 of DenseSampling .* above 0"),
        (lambda: DenseSampling(16, -1), "sampling_rate=-1 of DenseSampling must be at least 0"),
        (lambda: DenseSampling(0, 4), "num_frames=0 of DenseSampling must be a whole number"),
        (lambda: SegmentSampling(2.5), "num_frames=2.5 of SegmentSampling must be a whole number"),
    ],
)
def test_invalid_arguments(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("sampling", [DenseSampling(16, 4), SegmentSampling(16)])
@pytest.mark.parametrize("clip, clips", [(5, 5), (-1, 5), (0, 0)])
def test_clip_index_out_of_range(sampling, clip, clips):
    with pytest.raises(ValueError, match=f"clip {clip} of {clips}"):
        sampling.test(times_of(100, 30), clip, clips)
