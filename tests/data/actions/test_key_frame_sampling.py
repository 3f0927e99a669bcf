"""Frames around a key frame: PySlowFast's numbers at 30 fps, and the same seconds at other rates."""

import numpy as np
import pytest
from golden.make_action_clips import CLIPS, GOLDEN, TIMES, VIDEOS

from mvit_det.data import KeyFrameSampling
from mvit_det.errors import UserError


@pytest.mark.parametrize("count", VIDEOS)
@pytest.mark.parametrize("clip", CLIPS)
def test_frames_of_the_released_code(clip, count):
    with np.load(GOLDEN) as golden:
        expected = golden[f"frames_{clip[0]}x{clip[1]}_{count}"]
    sampling = KeyFrameSampling(*clip)
    made = [sampling.around(np.arange(count) / 30, time) for time in TIMES]
    np.testing.assert_array_equal(made, expected)
    assert (expected[0] == 0).any() and (expected[-1] == count - 1).any()  # both ends are met


def test_by_hand():
    times = np.arange(900) / 30
    sampling = KeyFrameSampling(4, 3)
    assert sampling.around(times, 10.0).tolist() == [294, 297, 300, 303]
    assert sampling.around(times, 0.0).tolist() == [0, 0, 0, 3]
    assert sampling.around(times, -1.0).tolist() == [0, 0, 0, 0]
    assert sampling.around(times, 30.1).tolist() == [897, 899, 899, 899]
    assert KeyFrameSampling(3, 0).around(times, 2.0).tolist() == [60, 60, 60]
    assert KeyFrameSampling(1, 1).around(times, 2.0).tolist() == [60]
    assert sampling.around(np.zeros(1), 0.5).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("fps", [12.5, 15, 24, 25, 30000 / 1001, 50, 60, 120])
def test_other_rates_show_the_same_seconds(fps):
    times = np.arange(int(40 * fps)) / fps
    for time in (5.0, 17.0, 31.0):
        frames = KeyFrameSampling(16, 4).around(times, time)
        wanted = time + (np.arange(16) * 4 - 32) / 30
        assert np.abs(times[frames] - wanted).max() <= 0.5 / fps + 1e-6
        assert abs(times[frames[8]] - time) <= 0.5 / fps + 1e-6


def test_of_two_that_are_equally_near_the_earlier_is_taken_whatever_is_rounded():
    """At 15 fps every other wanted time is halfway between two frames."""
    times = np.arange(27030 // 2) / 15
    for time in range(1, 900, 7):
        frames = KeyFrameSampling(4, 1).around(times, float(time))
        assert (frames - time * 15).tolist() == [-1, -1, 0, 0]


def test_a_variable_rate():
    times = np.array([0, 0.02, 0.04, 0.5, 1.0, 1.01, 1.5])
    frames = KeyFrameSampling(4, 15).around(times, 1.0)
    assert times[frames].tolist() == [0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0, 4), "num_frames=0"),
        ((2.5, 4), "num_frames=2.5"),
        ((16, -1), "sampling_rate=-1 of KeyFrameSampling"),
        ((16, "4"), "sampling_rate='4'"),
        ((16, 4, 0), "target_fps=0"),
    ],
)
def test_wrong_settings(arguments, message):
    with pytest.raises(UserError, match=message):
        KeyFrameSampling(*arguments)
