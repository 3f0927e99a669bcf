"""Windows of videos, their frames in order, and the table of a video's classes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mvit_det.data.decoding.reader import VideoError
from mvit_det.errors import UserError
from mvit_det.predict.open_frames import FramesInMemory, read_frames
from mvit_det.predict.sources import Picture, Video
from mvit_det.predict.spans import check_window, format_spans, span_at, split_windows, video_paths
from mvit_det.tasks.video import Span

NAMES = ["bow", "jump", "wave"]


def test_windows():
    times = np.arange(10) / 5  # two seconds
    assert (
        split_windows(times, 2, None)
        == split_windows(times, 2, 2.0)
        == split_windows(times, 2, 9)
        == [(0, 2, range(10))]
    )
    assert split_windows(times, 2, 1.0) == [(0, 1, range(5)), (1, 2, range(5, 10))]
    # frames at 0, 0.2, ...: a window has the frames that begin in it
    edges = (0, 3, 5, 8, 10)
    assert [frames for *_, frames in split_windows(times, 2, 0.5)] == list(
        map(range, edges, edges[1:])
    )
    # a window without the start of a frame has the frame on screen, or else the first one
    sparse = [frames for *_, frames in split_windows(np.array([2.0, 4.5]), 6.0, 1.0)]
    assert sparse == [range(0, 1)] * 4 + [range(1, 2)] * 2
    with pytest.raises(UserError, match="window=1e-09, .* at least a frame, 0.2"):
        split_windows(times, 2, 1e-9)
    with pytest.raises(UserError, match="window=0, in seconds, must be above 0"):
        check_window(0)


def test_a_frame_belongs_to_the_last_window_that_contains_it():
    spans = [Span(0, 1, range(0, 5), None), Span(0.5, 1.5, range(3, 8), None)]
    assert [span_at(spans, index) is spans[1] for index in range(8)] == [False] * 3 + [True] * 5


def test_frames_are_in_order_with_little_memory():
    frames = np.random.default_rng(0).integers(0, 255, (7, 8, 6, 3), dtype=np.uint8)
    for memory in (1, 2 * frames[0].nbytes, 2**27):
        for stop in (3, 7):
            read = list(read_frames(FramesInMemory(frames, 10), stop, memory))
            assert np.array_equal(np.stack(read), frames[:stop])


def test_frames_before_a_damaged_one_are_read():
    class Damaged(FramesInMemory):
        """Its frame 5 cannot be decoded."""

        def _read(self, wanted, short_side):
            if 5 in wanted:
                raise VideoError("frame 5 cannot be decoded")
            return super()._read(wanted, short_side)

    frames, read = np.arange(9, dtype=np.uint8).repeat(18).reshape(9, 2, 3, 3), []
    with pytest.raises(VideoError, match="frame 5"):
        for frame in read_frames(Damaged(frames, 10), 9):
            read.append(frame)
    assert np.array_equal(np.stack(read), frames[:5])
    assert len(list(read_frames(Damaged(frames, 10), 5))) == 5


def test_pictures_of_a_folder_are_the_frames_of_a_video():
    names = ["a/1.jpg", "b/x.mp4", "a/2.jpg", "c/only.png", "b/cover.jpg"]
    sources = [Video(Path(n)) if n.endswith("mp4") else Picture(Path(n)) for n in names]
    pictures = []
    videos = video_paths(sources, lambda path, reason: pictures.append(path))
    assert videos == [Path("a"), Path("b/x.mp4")]
    assert pictures == [Path("c/only.png"), Path("b/cover.jpg")]


def test_the_table_of_spans():
    categories = [{"id": n, "name": name} for n, name in enumerate(NAMES, start=1)]
    spans = [Span(0, 1.25, range(5), torch.tensor([0.125, 0.75, 0.125]))]
    assert format_spans(spans, categories).splitlines()[2].split("|")[1:-1] == [
        *(" 0.0 - 1.2 s ", " 75.0 ", " jump    "),
        *(" 12.5 ", " bow     ", " 12.5 ", " wave    "),
    ]
