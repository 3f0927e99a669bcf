import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mvit_det.errors import UserError
from mvit_det.predict.sources import DEFAULT_FPS, Picture, Video, find_sources, stream


def found(inputs, output="elsewhere") -> list[str]:
    return [source.path.name for source in find_sources(inputs, output)]


def test_a_folder_gives_what_is_in_it_and_below(inputs):
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
    [image] = save(tmp_path / "colour.png", colour).frames()
    assert np.array_equal(image, colour[:, :, ::-1])
    [image] = save(tmp_path / "gray.png", colour[:, :, 0]).frames()
    assert np.array_equal(image, np.dstack([colour[:, :, 0]] * 3))
    alpha = rng.integers(0, 255, (6, 9, 1), dtype=np.uint8)
    [image] = save(tmp_path / "rgba.png", np.dstack([colour, alpha])).frames()
    assert np.array_equal(image, colour[:, :, ::-1])
    exif = Image.Exif()
    exif[0x112] = 6  # turn clockwise
    [image] = save(tmp_path / "turned.png", colour, exif=exif).frames()
    assert np.array_equal(image, np.rot90(colour[:, :, ::-1], -1))


def test_faults_are_told_and_the_rest_goes_on(inputs):
    deep = np.full((6, 9), 40000, np.uint16)
    Image.fromarray(deep).save(inputs / "deep.png")
    (inputs / "fake.mp4").write_text("no video")
    faults = {}
    sources = find_sources([inputs], "elsewhere")
    names = [frame.source.path.name for frame in stream(sources, faults.__setitem__)]
    assert names == ["a.jpg", "b.png", *["clip.avi"] * 5, "a.jpg"]
    reasons = {path.name: reason for path, reason in faults.items()}
    assert set(reasons) == {"broken.jpg", "deep.png", "fake.mp4"}
    assert "convert the picture to 8 bits" in reasons["deep.png"]
    assert "no frame can be decoded" in reasons["fake.mp4"]


def test_video(inputs):
    video = Video(inputs / "clip.avi")
    assert (video.fps, video.count) == (12.5, 5)
    frames = list(video.frames())
    assert [frame.shape for frame in frames] == [frames[0].shape] * 5
    assert [round(frame.mean(), -1) for frame in frames] == [0, 10, 20, 30, 40]


class Scripted:
    """Stands in for cv2.VideoCapture: a header, and how many frames really come."""

    def __init__(self, fps, count, frames):
        self.header = {cv2.CAP_PROP_FPS: fps, cv2.CAP_PROP_FRAME_COUNT: count}
        self.left = frames

    def __call__(self, path):
        return self

    def get(self, key):
        return self.header[key]

    def read(self):
        self.left -= 1
        return self.left >= 0, np.zeros((2, 2, 3), np.uint8)

    def release(self):
        self.header["released"] = True


@pytest.mark.parametrize("fps", [0.0, 0.001, -1.0, float("nan"), 90000.0])
def test_a_video_without_a_frame_rate_or_length(fps, monkeypatch):
    scripted = Scripted(fps, count=-1, frames=3)
    monkeypatch.setattr(cv2, "VideoCapture", scripted)
    video = Video(Path("x.mp4"))
    assert (video.fps, video.count) == (DEFAULT_FPS, 0)
    assert len(list(video.frames())) == 3


def test_a_video_that_ends_early_is_reported_with_its_frames_kept(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Scripted(25.0, count=100, frames=60))
    faults = {}
    frames = list(stream([Video(Path("x.mp4"))], faults.__setitem__))
    assert [frame.index for frame in frames] == list(range(60))
    assert faults == {Path("x.mp4"): "it ended after 60 of 100 frames (damaged?)"}


def test_a_video_is_streamed(monkeypatch):
    scripted = Scripted(25.0, count=10, frames=10)
    monkeypatch.setattr(cv2, "VideoCapture", scripted)
    frames = stream([Video(Path("x.mp4"))], lambda path, reason: None)
    for taken in range(1, 4):
        next(frames)
        assert scripted.left == 10 - taken
    frames.close()
    assert scripted.header["released"]


def test_a_link_to_itself_is_one_faulty_input(inputs):
    (inputs / "loop.mp4").symlink_to("loop.mp4")
    assert "loop.mp4" in found([inputs])


def test_a_video_whose_name_is_no_text(tmp_path):
    with pytest.raises(UserError, match=r"caf\\xe9.mp4 has a name that is not UTF-8: rename it"):
        Video(tmp_path / "caf\udce9.mp4")
