"""Names of frames: order, gaps, memory, and folders that change."""

import os

import numpy as np
import pytest
from video_files import numbered_frames, numbers, write_frame_folder

from mvit_det.data import VideoError, open_video
from mvit_det.data.decoding import frame_names as module
from mvit_det.data.decoding.frame_names import FrameNames, frame_names


@pytest.fixture
def listings(monkeypatch):
    """Record the folders that are listed; the cache is empty."""
    module._kept.clear()
    listed, real = [], os.listdir
    monkeypatch.setattr(module.os, "listdir", lambda folder: listed.append(folder) or real(folder))
    yield listed
    module._kept.clear()


def make_folder(path, names, age=1000):
    """Create empty files in a folder whose last change was ``age`` seconds ago."""
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).touch()
    settle(path, age)
    return path


def settle(path, age=1000):
    now = module.time.time()
    os.utime(path, (now - age, now - age))


@pytest.mark.parametrize(
    "names",
    [
        ["f_9.jpg", "f_10.jpg", "f_11.jpg"],
        ["000001.jpg", "000002.jpg", "000005.jpg", "000006.jpg", "cover.jpg"],
        [
            "01.jpg",
            "1.jpg",
            "2.jpg",
            "a1b09.png",
            "a1b10.png",
            "a2b1.png",
            "a2b2.jp2",
            "x",
            "x.jpg",
        ],
        ["-5KQ66BBWC4_000099.jpg", "-5KQ66BBWC4_000100.jpg", "-5KQ66BBWC4_000101.jpg"],
        ["99_v2.jpg", "100_v2.jpg", "101_v2.jpg"],
        ["only.jpg"],
    ],
)
def test_every_name_in_the_order_of_its_number(names):
    assert FrameNames.of(reversed(names)).names == names


def test_a_video_of_five_minutes_takes_little_memory(tmp_path, listings, monkeypatch):
    names = [f"-5KQ66BBWC4_{number:06d}.jpg" for number in range(1, 9001)]
    monkeypatch.setattr(module, "_list_pictures", lambda folder: names[::-1])
    folder = make_folder(tmp_path / "x", [])
    for _ in range(2):
        assert frame_names(folder).names == names
    assert module._kept.weight < 50_000


def test_a_folder_is_listed_once(tmp_path, listings):
    folder = write_frame_folder(tmp_path / "x", numbered_frames(12))
    settle(folder)
    for fps in (30, 12):
        with open_video(folder, fps=fps) as video:
            assert len(video) == 12 and video.times[-1] == pytest.approx(11 / fps)
            assert numbers(video.frames([11, 0])) == [11, 0]
    assert len(listings) == 1


def test_a_changed_folder_is_noticed(tmp_path, listings):
    folder = make_folder(tmp_path / "x", ["1.jpg", "2.jpg"])
    assert frame_names(folder).names == frame_names(folder).names == ["1.jpg", "2.jpg"]
    make_folder(folder, ["3.jpg"], age=500)
    assert frame_names(folder).names == ["1.jpg", "2.jpg", "3.jpg"]
    (folder / "1.jpg").unlink()
    settle(folder, age=100)
    assert frame_names(folder).names == ["2.jpg", "3.jpg"]
    assert len(listings) == 3


def test_a_folder_that_is_being_filled_is_listed_each_time(tmp_path, listings):
    folder = make_folder(tmp_path / "x", ["1.jpg"], age=0)
    date = os.stat(folder).st_mtime_ns
    assert frame_names(folder).names == ["1.jpg"]
    (folder / "2.jpg").touch()
    os.utime(folder, ns=(date, date))  # within one tick of the file system's clock
    assert frame_names(folder).names == ["1.jpg", "2.jpg"]


def test_memory_has_a_limit(tmp_path, listings, monkeypatch):
    monkeypatch.setattr(module, "_BYTES_KEPT", 3)
    folders = [make_folder(tmp_path / name, ["a.jpg", "b.jpg"]) for name in "xyz"]
    for folder in folders:
        assert len(frame_names(folder).names) == 2
    assert len(module._kept) == 1  # the last one, however long


def test_folders_without_pictures(tmp_path, listings):
    folder = make_folder(tmp_path / "x", ["notes.txt", ".1.jpg"])
    for _ in range(2):
        with pytest.raises(VideoError, match="no pictures"):
            frame_names(folder)
    with pytest.raises(VideoError, match="cannot be listed: No such file"):
        frame_names(tmp_path / "none")


def test_missing_pictures_do_not_shift_the_others(tmp_path, caplog, listings):
    places = [*range(3), *range(5, 20), 23]
    folder = make_folder(tmp_path / "x", [f"a_{place + 1:06d}.jp2" for place in places])
    names = frame_names(folder)
    assert names.indices.tolist() == places and sum(names.gaps.values()) == 5
    frame_names(folder)
    assert caplog.text.count("lacks 5 of its pictures") == 1
    with open_video(folder, fps=10) as video:
        assert video.times.tolist() == [place / 10 for place in places]


@pytest.mark.parametrize(
    "counted, missing",
    [
        ([0, 5, 10, 15], 0),  # every fifth frame
        ([0, 5, 10, 20, *range(25, 75, 5)], 1),
        ([0, 3, 7, 10, 13, 17], 0),  # thinned from 30 to 9 frames per second
        ([n for n in range(60) if n % 3 != 2], 0),  # and to 20
        ([n for n in range(60) if n % 5 != 4], 0),  # and to 24
        ([4], 0),
        ([4, 9], 0),
    ],
)
def test_steps_of_numbers(counted, missing):
    names = FrameNames.of(f"{number}.jpg" for number in counted)
    assert sum(names.gaps.values()) == missing
    expected = [0, 1, 2, *range(4, 15)] if missing else list(range(len(counted)))
    assert names.indices.tolist() == expected


def test_no_gaps_if_names_differ_in_more_than_one_number():
    for names in (["b2.jpg", "b9.jpg"], ["a2_1.jpg", "a9_2.jpg"], ["a2.png", "a9.jpg"]):
        assert FrameNames.of(["a1.jpg", *names]).indices.tolist() == [0, 1, 2]


@pytest.mark.parametrize("template", ["{:05d}.jpg", "img_{}.png", "frame{:d}_v2.JPEG"])
def test_a_folder_of_frames(tmp_path, template):
    folder = write_frame_folder(tmp_path / "frames", numbered_frames(12), template)
    (folder / "labels.txt").write_text("no frame")
    (folder / "._00001.jpg").write_bytes(b"a system's own")
    with open_video(folder) as video:
        assert (len(video), video.fps) == (12, 30)
        np.testing.assert_array_equal(video.times, np.arange(12) / 30)
        frames = video.frames([11, 0, 9, 9])
        assert numbers(frames) == [11, 0, 9, 9] and frames.shape == (4, 48, 64, 3)
    with open_video(folder, fps=12) as video:
        assert video.times[-1] == pytest.approx(11 / 12) and video.fps == 12
    with pytest.raises(ValueError, match="fps=0"), open_video(folder, fps=0):
        pass
