"""Frames resized by the decoder: sizes, and pixels against means of areas and FFmpeg's filter."""

import av
import numpy as np
import pytest
from video_files import numbered_frames, numbers, write_frame_folder, write_video

from mvit_det.data.decoding.reader import open_video
from mvit_det.data.decoding.resizing import decoded_size

WIDE = (720, 1280)


def drawn(height: int, width: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 with details of all sizes down to a pixel."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * x / (2 * width)), np.sin(y * y / (2 * height)), np.sin((x + 2 * y) / 5)]
    return (127.5 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)


def areas(length: int, resized: int) -> np.ndarray:
    """Weights (resized, length) of the mean over the pixels that each resized pixel covers."""
    edges = np.arange(resized + 1) * length / resized
    pixels = np.arange(length)
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return shared.clip(0) * resized / length


@pytest.mark.parametrize(
    ("stored", "short_side", "expected"),
    [
        ((720, 1280), 256, (256, 455)),  # 455.1
        ((1280, 720), 256, (455, 256)),
        ((480, 640), 356, (356, 475)),  # 474.7, where PySlowFast's transforms round down
        ((512, 1025), 256, (256, 513)),  # 512.5
        ((240, 320), 256, (256, 341)),  # smaller ones are enlarged
        ((256, 340), 256, (256, 340)),
        ((300, 300), 224, (224, 224)),
        ((10, 1000), 1, (1, 100)),
    ],
)
def test_sizes(stored, short_side, expected):
    assert decoded_size(*stored, short_side) == expected


def test_a_grey_picture_is_averaged_by_area(tmp_path):
    """Brightness is that of exact means, which bilinear resizing misses by many grey levels."""
    grey = drawn(*WIDE)[..., :1].repeat(3, axis=-1)
    path = write_video(tmp_path / "a.mkv", grey[None], codec="ffv1")
    with open_video(path) as video:
        [stored], [resized] = video.frames([0]), video.frames([0], 256)
    rows, columns = areas(720, 256), areas(1280, 455)
    expected = np.einsum("hr,rcx,wc->hwx", rows, stored.astype(float), columns, optimize=True)
    assert resized.shape == (256, 455, 3) and resized.dtype == np.uint8
    difference = np.abs(resized - expected)
    assert difference.max() < 2.5 and difference.mean() < 0.6
    nearest = stored[(np.arange(256) * 720) // 256][:, (np.arange(455) * 1280) // 455]
    assert np.abs(nearest - expected).mean() > 10


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "stored", "short_side"),
    [
        ("libx264", "yuv420p", WIDE, 256),
        ("libx264", "yuv420p", (1280, 720), 224),
        ("libx264", "yuv420p", (96, 128), 256),  # enlarged
        ("libx264", "yuvj420p", (482, 640), 356),
        ("ffv1", "yuv444p", (360, 640), 256),
        ("ffv1", "yuv420p10le", (360, 640), 256),
    ],
)
def test_pixels_are_those_of_the_scale_filter(tmp_path, codec, pix_fmt, stored, short_side):
    path = write_video(tmp_path / "a.mkv", drawn(*stored)[None], codec=codec, pix_fmt=pix_fmt)
    with av.open(str(path)) as container:
        [frame] = container.decode(video=0)
    height, width = decoded_size(*stored, short_side)
    graph = av.filter.Graph()
    steps = [("scale", f"{width}:{height}:flags=area"), ("format", "rgb24"), ("buffersink", "")]
    source = graph.add_buffer(template=frame, time_base=frame.time_base)
    graph.link_nodes(source, *(graph.add(*step) for step in steps)).configure()
    graph.push(frame)
    expected = graph.pull().to_ndarray()
    with open_video(path) as video:
        np.testing.assert_array_equal(video.frames([0, 0], short_side), [expected, expected])
        assert video.frames([0]).shape == (1, *stored, 3)  # the next call has its own size


def test_a_rotated_video_is_resized_before_it_is_turned(tmp_path):
    lying = np.rot90(numbered_frames(3, 120, 192), 1, axes=(1, 2))
    path = write_video(tmp_path / "a.mp4", lying, rotation=-90)
    with open_video(path) as video:
        frames = video.frames(range(3), 60)
    assert frames.shape == (3, 60, 96, 3) and numbers(frames) == [0, 1, 2]
    assert frames[:, 3, :, 0].min() > 150 > frames[:, 3, :, 2].max()  # red is at the top


def test_pictures_in_a_folder_are_averaged_too(tmp_path):
    frames = np.stack([drawn(360, 640), drawn(360, 640)[:, ::-1]])
    folder = write_frame_folder(tmp_path / "x", frames)
    with open_video(folder) as video:
        stored, resized = video.frames([1, 0]).astype(float), video.frames([1, 0], 180)
        np.testing.assert_array_equal(video.frames([0], 360), stored[1:])
    expected = stored.reshape(2, 180, 2, 320, 2, 3).mean(axis=(2, 4))
    assert resized.shape == expected.shape
    # brightness, since FFmpeg halves the resolution of colours
    assert np.abs(resized.mean(axis=-1) - expected.mean(axis=-1)).mean() < 1.5
