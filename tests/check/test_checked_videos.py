"""Videos in the pool of checks and on contact sheets."""

import os

import numpy as np
import pytest
from PIL import Image
from video_files import numbered_frames, write_frame_folder, write_video

from mvit_det.check.pool import CheckPool
from mvit_det.check.sheets import draw_sheets
from mvit_det.data.checks.findings import Finding
from mvit_det.data.checks.videos import VideoCheck


def test_a_sheet_shows_the_first_frame_of_files_and_folders(tmp_path):
    frames = numbered_frames(2, 96, 96)
    paths = write_video(tmp_path / "a.mp4", frames), write_frame_folder(tmp_path / "b", frames)
    (tmp_path / "c.mp4").touch()
    findings = [
        Finding("note", "short video", "", picture=str(path))
        for path in (*paths, tmp_path / "c.mp4")
    ]
    [sheet] = draw_sheets({"short video": findings}, tmp_path)
    pixels = np.asarray(Image.open(sheet))
    assert sheet.name == "short_video.png"
    reds = (pixels[..., 0] > 200) & (pixels[..., 1] < 100)
    left, right = np.array_split(reds, 2, axis=1)
    assert left.sum() > 5000 and right.sum() > 5000  # the stripes at the top of two frames


def test_what_reading_logs_is_not_repeated_next_to_the_finding(tmp_path, caplog):
    folder = write_frame_folder(tmp_path / "frames", numbered_frames(30))
    (folder / "00011.jpg").unlink()
    with CheckPool(0) as pool:
        [(_, report)] = pool.run([VideoCheck(str(folder))])
    assert [each.kind for each in report.findings] == ["lost frames"] and not caplog.records


def test_a_few_long_videos_are_worth_processes(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("mvit_det.check.pool._pool", lambda count: started.append(count) or 1 / 0)
    short, long = (tmp_path / name for name in ("short.mp4", "long.mp4"))
    for path, size in ((short, 100_000), (long, 100_000_000)):
        path.touch()
        os.truncate(path, size)  # takes no space
    with CheckPool(2) as pool:
        assert len(list(pool.run([VideoCheck(str(short))] * 20))) == 20 and not started
        with pytest.raises(ZeroDivisionError):
            next(pool.run([VideoCheck(str(long))] * 20))
    assert started == [2]
