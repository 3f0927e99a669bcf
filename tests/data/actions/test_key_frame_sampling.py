"""Frames around a key frame: PySlowFast's indices at 30 fps, the same seconds at other rates."""

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
def test_other_rates_give_the_same_seconds(fps):
    times = np.arange(int(40 * fps)) / fps
    for time in (5.0, 17.0, 31.0):
        frames = KeyFrameSampling(16, 4).around(times, time)
        wanted = time + (np.arange(16) * 4 - 32) / 30
        assert (wanted - times[frames]).min() > -1e-5 and (wanted - times[frames]).max() < 1 / fps
        assert frames[8] == int(time * fps + 1e-6)


@pytest.mark.parametrize("fps", [15, 30, 30000 / 1001])
def test_a_frame_is_on_screen_from_its_start_despite_rounding(fps):
    times = np.arange(27030) / fps
    for frame in range(7, 27030, 101):
        frames = KeyFrameSampling(4, 1, fps).around(times, frame / fps)
        assert (frames - frame).tolist() == [-2, -1, 0, 1]


def test_a_variable_rate():
    """The frame is the last that has begun, even if the next is nearer, or else the first."""
    times = np.array([0.5, 0.52, 0.54, 1.0, 1.01, 6.0, 6.5])
    frames = KeyFrameSampling(4, 60).around(times, 5.99)
    assert times[frames].tolist() == [1.01, 1.01, 1.01, 6.5]
    assert KeyFrameSampling(4, 15).around(times, 0.9).tolist() == [0, 0, 2, 4]


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
def test_invalid_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        KeyFrameSampling(*arguments)
