"""Missing, damaged, truncated and unusual files: the reason in the error, or the frames left."""

import os
from itertools import islice
from unittest.mock import Mock

import av
import pytest
from video_files import (
    cut_short,
    damage,
    numbered_frames,
    numbers,
    write_audio,
    write_frame_folder,
    write_video,
    write_without_frames,
)

from mvit_det.data.decoding.reader import VideoError, open_video
from mvit_det.data.decoding.stream import VideoStream


@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_truncated_file_has_the_frames_before_the_cut(tmp_path, name, b_frames):
    codec = None if name == "a.avi" else "libx264"
    path = write_video(
        *(tmp_path / name, numbered_frames(100)),
        **dict(codec=codec, gop=15, b_frames=b_frames, index_first=True),
    )
    cut_short(path, 0.6)
    with open_video(path) as video:
        assert 20 < len(video) < 100
        frames = video.frames(range(len(video) - 4))
        assert numbers(frames) == list(range(len(frames)))
        video.frames([len(video) - 1])


def test_frames_that_need_a_damaged_packet(tmp_path, capfd):
    path = write_video(tmp_path / "a.mp4", numbered_frames(120), gop=12, index_first=True)
    damage(path, 0.5, 200)
    bad = []
    with open_video(path) as video:
        for index in range(120):
            try:
                video.frames([index])
            except VideoError as error:
                bad.append(index)
                assert str(error).startswith(
                    f"frame {index} of 120 cannot be decoded: Invalid data"
                )
        assert 0 < len(bad) < 36
        key = next(index for index in range(bad[-1] + 1, 120) if index % 12 == 0)
        assert bad[-1] + 1 == key  # all up to the next key frame
        assert numbers(video.frames([0, 119, key])) == [0, 119, key]
        with pytest.raises(VideoError, match=f"^frame {bad[0]} of"):
            video.frames([0, *bad])
    assert capfd.readouterr().err == ""  # FFmpeg is silent


def test_errors_of_conversion_and_demuxing(tmp_path, monkeypatch):
    # Damage by random bytes has this effect in one file of thousands.
    path = write_video(tmp_path / "a.mp4", numbered_frames(5))

    def refuse(*args, **kwargs):
        raise av.OSError(95, "Operation not supported")

    with open_video(path) as video:
        monkeypatch.setattr(video._stream, "_reformatter", Mock(reformat=refuse))
        with pytest.raises(
            VideoError, match="frame cannot be converted to RGB: Operation not supported"
        ):
            video.frames([1])
    stream = VideoStream(path)

    def broken(*args):
        yield from islice(container.demux(*args), 3)
        raise IndexError(
            "list index out of range"
        )  # PyAV's error for a stream that begins in mid-file

    container, stream._container = stream._container, Mock(demux=broken)
    assert len(list(stream.packets())) == 3
    container.close()


def test_reason_of_each_unusable_file(tmp_path):
    def reason(path) -> str:
        with pytest.raises(VideoError) as error, open_video(path):
            pass
        return str(error.value)

    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "readme.txt").write_text("nothing")
    for name in ("text.txt", "text.mp4"):
        (tmp_path / name).write_text("<html>404 Not Found</html>\n" * 100)
    picture = write_frame_folder(tmp_path / "frames", numbered_frames(1)) / "00001.jpg"
    no_index = cut_short(write_video(tmp_path / "no_index.mp4", numbered_frames(20)))

    assert reason(tmp_path / "absent.mp4") == "the file does not exist"
    assert reason(tmp_path / "empty.mp4") == "the file is empty (0 bytes)"
    assert reason(tmp_path / "folder") == "the folder has no pictures"
    assert reason(write_audio(tmp_path / "audio.mp4")) == "no video stream (audio only?)"
    assert reason(write_without_frames(tmp_path / "none.avi")) == "no frames"
    assert reason(tmp_path / "text.txt") == "the file is text, not a video"
    assert reason(picture) == "the file is a single picture, not a video"
    for path in (tmp_path / "text.mp4", no_index):
        assert reason(path) == (
            "the file cannot be opened as a video: Invalid data found when processing input"
        )


def test_no_read_permission(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", numbered_frames(3))
    write_frame_folder(tmp_path / "frames", numbered_frames(3))

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    # Tests may run as root, who may read everything.
    monkeypatch.setattr(av, "open", refuse)
    monkeypatch.setattr(os, "listdir", refuse)
    for place in (path, tmp_path / "frames"):
        with pytest.raises(VideoError, match="Permission denied"), open_video(place):
            pass


def test_frame_index_out_of_range(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(5))
    folder = write_frame_folder(tmp_path / "frames", numbered_frames(5))
    for place in (path, folder):
        with open_video(place) as video:
            for index in (5, -1):
                with pytest.raises(IndexError, match=rf"frame {index} of .* 5 frames \(0 to 4\)"):
                    video.frames([0, index])


def test_special_characters_in_file_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.mp4", "50% off #1?.mp4", "pipe:0.mp4", "%05d.mp4"):
        write_video(tmp_path / "a.mp4", numbered_frames(3)).rename(name)
        with open_video(name) as video:
            assert numbers(video.frames([2])) == [2]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's list of open files")
def test_files_are_closed(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered_frames(20))
    no_frames = write_without_frames(tmp_path / "none.avi")
    before = len(os.listdir("/proc/self/fd"))
    with open_video(path) as video:
        video.frames([15, 2])
        assert len(os.listdir("/proc/self/fd")) == before + 1
    for place in (no_frames, write_audio(tmp_path / "audio.mp4")):
        with pytest.raises(VideoError), open_video(place):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_bad_frames_in_a_folder(tmp_path):
    folder = write_frame_folder(tmp_path / "frames", numbered_frames(4))
    write_frame_folder(folder, numbered_frames(1, 24, 36), "00009.jpg")
    (folder / "00002.jpg").write_bytes(b"no picture")
    with open_video(folder) as video:
        assert numbers(video.frames([0, 3])) == [0, 3]
        with pytest.raises(
            VideoError, match=r"^frame 1 \(00002.jpg\) cannot be read: .*not a picture"
        ):
            video.frames([0, 1])
        with pytest.raises(VideoError, match="differ in size: 48x64 .*00001.jpg.* and 24x36"):
            video.frames([0, 4])
