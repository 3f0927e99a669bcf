"""Inputs of the command line, and their frames."""

import os
import re
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image
from video_files import cut_short, damage, numbered_frames, numbers
from video_files import write_video as write_frames

from mvit_det.data.decoding.stream import VideoStream
from mvit_det.errors import UserError
from mvit_det.predict.sources import (
    DEFAULT_FPS,
    Picture,
    Video,
    find_sources,
    iterate_frames,
    valid_fps,
)


def found(inputs, output="elsewhere") -> list[str]:
    return [source.path.name for source in find_sources(inputs, output)]


def test_a_folder_includes_subfolders(inputs):
    assert found([inputs]) == ["a.jpg", "b.png", "broken.jpg", "clip.avi", "a.jpg"]
    kinds = [type(source) for source in find_sources([inputs], "elsewhere")]
    assert kinds == [Picture, Picture, Picture, Video, Picture]


def test_files_and_patterns_in_the_order_given(inputs):
    assert found([inputs / "b.png", f"{inputs}/*.jpg"]) == ["b.png", "a.jpg", "broken.jpg"]
    assert found([f"{inputs}/**/a.jpg"]) == ["a.jpg", "a.jpg"]
    assert found([f"{inputs}/bel*"]) == ["a.jpg"]  # a pattern may match folders


def test_each_file_counts_once(inputs):
    twice = [inputs, inputs / "a.jpg", f"{inputs}/below/../*.png", os.path.relpath(inputs)]
    assert found(twice) == found([inputs])


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a[1].png")
    Image.new("RGB", (4, 4)).save(tmp_path / "a1.png")
    assert found([tmp_path / "a[1].png"]) == ["a[1].png"]


def test_results_are_not_inputs(inputs):
    output = inputs / "below"
    assert found([inputs], output) == ["a.jpg", "b.png", "broken.jpg", "clip.avi"]
    assert found([inputs], inputs.parent) == found([inputs])
    with pytest.raises(UserError, match="is an input folder"):
        find_sources([inputs], inputs)


def test_nothing_found(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match=r"There is no picture or video in .*\*\.tga, .*\.png"):
        find_sources([f"{tmp_path}/*.tga", tmp_path], "elsewhere")
    with pytest.raises(UserError, match="Input .*missing.jpg does not exist"):
        find_sources([tmp_path / "missing.jpg"], "elsewhere")


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options) -> Picture:
    Image.fromarray(pixels, mode=mode).save(path, **options)
    return Picture(path)


def test_kinds_of_pictures(tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 255, (6, 9, 3), dtype=np.uint8)  # RGB
    [frame] = save(tmp_path / "colour.png", colour).frames()
    assert np.array_equal(frame.image, colour[:, :, ::-1])
    [frame] = save(tmp_path / "gray.png", colour[:, :, 0]).frames()
    assert np.array_equal(frame.image, np.dstack([colour[:, :, 0]] * 3))
    alpha = rng.integers(0, 255, (6, 9, 1), dtype=np.uint8)
    [frame] = save(tmp_path / "rgba.png", np.dstack([colour, alpha])).frames()
    assert np.array_equal(frame.image, colour[:, :, ::-1])
    exif = Image.Exif()
    exif[0x112] = 6  # turn clockwise
    [frame] = save(tmp_path / "turned.png", colour, exif=exif).frames()
    assert np.array_equal(frame.image, np.rot90(colour[:, :, ::-1], -1))


def test_faults_are_reported_and_skipped(inputs):
    deep = np.full((6, 9), 40000, np.uint16)
    Image.fromarray(deep).save(inputs / "deep.png")
    (inputs / "fake.mp4").write_text("no video")
    faults = {}
    sources = find_sources([inputs], "elsewhere")
    names = [frame.source.path.name for frame in iterate_frames(sources, faults.__setitem__)]
    assert names == ["a.jpg", "b.png", *["clip.avi"] * 5, "a.jpg"]
    reasons = {path.name: reason for path, reason in faults.items()}
    assert set(reasons) == {"broken.jpg", "deep.png", "fake.mp4"}
    assert "convert the picture to 8 bits" in reasons["deep.png"]
    assert "cannot be opened as a video" in reasons["fake.mp4"]


def test_video(inputs):
    video = Video(inputs / "clip.avi")
    assert (video.fps, video.count) == (12.5, 5)
    frames = list(video.frames())
    assert [frame.index for frame in frames] == list(range(5))
    assert [frame.seconds for frame in frames] == [0, 0.08, 0.16, 0.24, 0.32]
    assert [round(frame.image.mean(), -1) for frame in frames] == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("fps", [0.0, 0.001, -1.0, float("nan"), 90000.0])
def test_invalid_frame_rates_are_replaced(fps):
    assert valid_fps(fps) == DEFAULT_FPS


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_video_that_ends_early_is_reported_with_its_frames_kept(tmp_path, name):
    path = tmp_path / name
    write_frames(path, numbered_frames(100), 25, gop=15, index_first=True)
    cut_short(path, 0.6)
    faults = {}
    frames = list(iterate_frames([Video(path)], faults.__setitem__))
    assert 20 < len(frames) < 95
    assert numbers(np.stack([frame.image for frame in frames[:-3]])) == list(range(len(frames) - 3))
    assert re.fullmatch(r"it ended after [0-9.]+ of [0-9.]+ s \(damaged\?\)", faults[path])


def test_damage_in_the_middle_is_reported_with_the_frames_around_it(tmp_path):
    path = write_frames(tmp_path / "a.mp4", numbered_frames(120), 25, gop=12, index_first=True)
    damage(path, 0.5, 200)
    faults = {}
    frames = list(iterate_frames([Video(path)], faults.__setitem__))
    decoded = numbers(np.stack([frame.image for frame in frames]))
    assert decoded[:40] == list(range(40)) and decoded[-1] == 119 and len(decoded) > 80
    assert frames[-1].seconds == 119 / 25
    assert re.fullmatch(r"\d+ of its frames cannot be decoded \(damaged\?\)", faults[path])


def test_a_video_is_streamed(inputs, monkeypatch):
    """Frames are decoded one by one on demand, and the file is closed."""
    read, decoded = VideoStream.decode, []
    closed = Mock(side_effect=VideoStream.close, autospec=True)
    monkeypatch.setattr(
        VideoStream,
        "decode",
        lambda self, *arguments: (decoded.append(1), read(self, *arguments))[1],
    )
    video = Video(inputs / "clip.avi")
    monkeypatch.setattr(VideoStream, "close", lambda self: closed(self))
    frames = iterate_frames([video], lambda path, reason: None)
    for taken in range(1, 4):
        next(frames)
        assert len(decoded) == taken and not closed.called
    frames.close()
    assert closed.called


def test_a_link_to_itself_is_one_faulty_input(inputs):
    (inputs / "loop.mp4").symlink_to("loop.mp4")
    assert "loop.mp4" in found([inputs])


def test_skipped_files_are_counted_by_suffix(inputs, caplog):
    for name in ("a.heic", "b.HEIC", "README"):
        (inputs / name).write_text("")
    Image.new("RGB", (8, 8)).save(inputs / "c.gif")
    with pytest.raises(UserError, match="There is no picture or video"):
        (inputs / "only").mkdir()
        (inputs / "only" / "x.heic").write_text("")
        find_sources([inputs / "only"], "elsewhere")
    assert "only: skipped 1 files of other kinds (1 .heic)." in caplog.text
    assert "c.gif" in found([inputs])
    assert "skipped 5 files of other kinds (3 .heic, 1 .txt, 1 no ending)." in caplog.text
