"""Videos of every kind by every way into the product: FFmpeg's frames at FFmpeg's times."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from video_files import numbers
from video_kinds import (
    COUNT,
    DRAWN,
    KINDS,
    MATRICES,
    SIZE,
    by_ffmpeg,
    coloured_frames,
    draw,
    upright,
)
from video_ways import WAYS

FFMPEG = shutil.which("ffmpeg") and shutil.which("ffprobe")
# FFmpeg guesses when frames are shown of which AVI does not tell; drawn they begin at 0.
GUESSED = ("b_frames.avi",)


@pytest.fixture(scope="module", params=KINDS, ids=ascii)
def kind(request, tmp_path_factory) -> SimpleNamespace:
    """A video: ``path``, ``times``, ``drawn`` (its frames as players show them), ``decoded``."""
    made = draw(tmp_path_factory.mktemp("kind"), request.param)
    made.drawn = coloured_frames(DRAWN.get(request.param, {}).get("size", SIZE))
    if made.path.stem in MATRICES:
        made.drawn = upright(made.drawn, MATRICES[made.path.stem])
    if made.path.stem == "gray":
        made.drawn = np.dot(made.drawn, [0.299, 0.587, 0.114])[..., None].repeat(3, axis=3)
    made.decoded = None
    if FFMPEG:
        made.decoded, times = by_ffmpeg(made.path)
        known = np.isfinite(times)
        made.times = np.where(known, times, made.times + times[0])
    elif request.param in GUESSED:
        made.times = made.times + 1 / 25
    return made


@pytest.mark.parametrize("way", WAYS)
def test_frames_and_times(kind, way):
    shown = list(WAYS[way](kind.path))
    if shown[0].index is None:  # asked for by the second: the last that has begun, or the first
        indices = [max(0, (kind.times <= one.second + 1e-3).sum() - 1) for one in shown]
        assert len(set(indices)) > 1
    else:
        indices = [one.index for one in shown]
        assert indices == list(range(COUNT))
        # of the sound that MPEG-TS begins with an encoder cuts up to 15 ms off
        exact = 1e-3 if FFMPEG or kind.path.suffix != ".ts" else 16e-3
        np.testing.assert_allclose([one.second for one in shown], kind.times, atol=exact)
    pictures = np.stack([one.picture for one in shown]).astype(int)
    assert pictures.shape[1:] == kind.drawn.shape[1:]
    # by the drawing: the right frame, turned as it should be, within what a codec changes
    few = np.s_[:, :: kind.drawn.shape[1] // 64, :: kind.drawn.shape[2] // 64]
    near = np.abs(pictures[few][:, None] - kind.drawn[few][None]).mean(axis=(2, 3, 4))
    assert near.argmin(axis=1).tolist() == indices and near.min(axis=1).max() < 20
    if kind.decoded is not None:
        assert np.abs(pictures - kind.decoded[indices]).mean(axis=(1, 2, 3)).max() < 1


@pytest.mark.skipif(not FFMPEG, reason="there is no command line of FFmpeg to compare with")
def test_ffmpeg_shows_what_was_drawn(kind):
    """Else the comparison above would be of two that are wrong alike."""
    if kind.path.stem not in MATRICES:
        assert numbers(kind.decoded) == list(range(COUNT))
