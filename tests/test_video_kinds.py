"""Videos of all kinds by every reader of the package: FFmpeg's frames at FFmpeg's times."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from video_files import numbers
from video_kinds import (
    KINDS,
    MATRICES,
    by_ffmpeg,
    draw,
    upright,
)
from video_ways import WAYS

FFMPEG = shutil.which("ffmpeg") and shutil.which("ffprobe")
# AVI does not store when B-frames are shown, and FFmpeg guesses it; the drawn frames begin at 0.
GUESSED = ("b_frames.avi",)


@pytest.fixture(scope="module", params=KINDS, ids=ascii)
def kind(request, tmp_path_factory) -> SimpleNamespace:
    """A video: ``path``, ``times``, ``drawn`` (its frames as players show them), ``decoded``."""
    made = draw(tmp_path_factory.mktemp("kind"), request.param)
    made.drawn = made.frames
    if made.path.stem in MATRICES:
        made.drawn = upright(made.drawn, MATRICES[made.path.stem])
    if made.path.stem == "gray":
        made.drawn = np.dot(made.drawn, [0.299, 0.587, 0.114])[..., None].repeat(3, axis=3)
    made.decoded = None
    if FFMPEG and made.path.stem not in MATRICES:
        made.decoded, times = by_ffmpeg(made.path)
        assert numbers(made.decoded) == list(range(len(made.times)))  # FFmpeg's frames are right
        known = np.isfinite(times)
        made.times = np.where(known, times, made.times + times[0])
    elif request.param in GUESSED:
        made.times = made.times + 1 / 25
    return made


@pytest.mark.parametrize("way", WAYS)
def test_frames_and_times(kind, way):
    frames = list(WAYS[way](kind.path))
    if frames[0].index is None:  # requested by second: the last frame that has begun, or the first
        indices = [max(0, (kind.times <= frame.second + 1e-3).sum() - 1) for frame in frames]
        assert len(set(indices)) > 1
    else:
        indices = [frame.index for frame in frames]
        assert indices == list(range(len(kind.times)))
        # in MPEG-TS the encoder cuts up to 15 ms off the sound, which begins first
        exact = 1e-3 if FFMPEG or kind.path.suffix != ".ts" else 16e-3
        np.testing.assert_allclose([frame.second for frame in frames], kind.times, atol=exact)
    pictures = np.stack([frame.picture for frame in frames]).astype(np.int16)
    assert pictures.shape[1:] == kind.drawn.shape[1:]
    # compared with the drawing: the right frame, upright, up to the loss of the codec
    height, width = kind.drawn.shape[1:3]
    few = np.s_[:, :: height // 20 | 1, :: width // 20 | 1]  # odd, to meet all stripes and bars
    near = np.abs(pictures[few][:, None] - kind.drawn[few][None]).mean(axis=(2, 3, 4))
    assert near.argmin(axis=1).tolist() == indices and near.min(axis=1).max() < 20
    if kind.decoded is not None:
        assert np.abs(pictures - kind.decoded[indices]).mean(axis=(1, 2, 3)).max() < 1
