"""The scripts of exported folders read videos as the project does."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from video_files import numbered_frames, write_video

import mvit_det.export
from mvit_det.data.decoding.reader import open_video


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
@pytest.mark.parametrize(
    "script, side", [("run_videos.py", None), ("run_videos.py", 24), ("run_actions.py", None)]
)
def test_rotated_videos_are_upright(tmp_path, script, side, degrees):
    path = write_video(tmp_path / "a.mp4", numbered_frames(5, 48, 96), rotation=degrees)
    shutil.copyfile(Path(mvit_det.export.__file__).with_name(script), tmp_path / "run.py")
    rule = {"preprocessing": {"decode_short_side": side}}
    (tmp_path / "model.json").write_text(json.dumps(rule))
    times, frames = runpy.run_path(str(tmp_path / "run.py"))["read_video"](path)
    with open_video(path) as video:
        np.testing.assert_allclose(times, video.times)
        np.testing.assert_array_equal(frames, video.frames(range(5), side))
