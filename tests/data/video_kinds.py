"""A small video of every kind that users have, and FFmpeg's frames and times for it."""

import json
import os
import re
import struct
import subprocess
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
from video_files import numbered_frames, write_video

COUNT, SIZE = 15, (64, 96)
FPS = 25
FIELDS = {"flags": "+ildct+ilme"}
X265 = {"x265-params": "log-level=none"}
HDR = dict(colorspace=9, color_trc=16, color_primaries=9)
# a, b, c, d of a display matrix, which takes (x, y) to (ax + cy, bx + dy)
MATRICES = {
    "as_it_is": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "upside_down": (1, 0, 0, -1),
    "turned_180": (-1, 0, 0, -1),
    "turned_90": (0, 1, -1, 0),
    "turned_270": (0, -1, 1, 0),
    "transposed": (0, 1, 1, 0),
    "transposed_180": (0, -1, -1, 0),
}
VARIABLE = [0, 0.04, 0.2, 0.24, 0.5, 1.0, 1.02, 1.1, 1.9, 2.0, 2.5, 2.52, 2.6, 3.4, 3.5]
STILL = [*np.arange(10) / 10, *(6 + np.arange(5) / 10)]
DRAWN = {
    "interlaced_h264.mts": dict(codec="libx264", options=FIELDS | {"x264-params": "tff=1"}),
    "interlaced_mpeg2.mpg": dict(codec="mpeg2video", options=FIELDS, b_frames=2),
    "interlaced_mpeg2.mts": dict(codec="mpeg2video", options=FIELDS, b_frames=2),
    "dv.avi": dict(codec="dvvideo", size=(576, 720), count=4),
    "dv.dv": dict(codec="dvvideo", size=(576, 720), count=4),
    "av1.mp4": dict(codec="libsvtav1", options={"preset": "12"}),
    "vp8.webm": dict(codec="libvpx"),
    "vp9.webm": dict(options={"cpu-used": "8", "deadline": "realtime"}),
    "hevc.mp4": dict(codec="libx265", options=X265),
    "hevc_10_bits.mkv": dict(codec="libx265", options=X265, pix_fmt="yuv420p10le"),
    "hdr.mp4": dict(codec="libx265", options=X265, pix_fmt="yuv420p10le", colors=HDR),
    "h264_422.mov": dict(codec="libx264", pix_fmt="yuv422p"),
    "h264_444.mp4": dict(pix_fmt="yuv444p"),
    "h264_10_bits_422.mp4": dict(pix_fmt="yuv422p10le"),
    "prores.mov": dict(codec="prores_ks", pix_fmt="yuva444p10le"),
    "gray.mp4": dict(pix_fmt="gray"),
    "gray.mkv": dict(codec="ffv1", pix_fmt="gray"),
    "alpha.webm": dict(codec="libvpx-vp9", pix_fmt="yuva420p"),
    "alpha.mkv": dict(codec="ffv1", pix_fmt="bgra"),
    "limited.mp4": dict(colors=dict(color_range=1, colorspace=1)),
    "full.mp4": dict(colors=dict(color_range=2, colorspace=1)),
    "full_10_bits.mp4": dict(pix_fmt="yuv420p10le", colors=dict(color_range=2)),
    "b_frames.avi": dict(b_frames=2),
    "variable.mp4": dict(times=VARIABLE),
    "variable.mkv": dict(times=VARIABLE, b_frames=2, options={"preset": "medium"}),
    "still.mkv": dict(times=STILL),
    "still.mp4": dict(times=STILL),
    "late.mp4": dict(times=3 + np.arange(COUNT) / FPS),
    "caf\udce9.mp4": dict(),
}
KINDS = [
    *DRAWN,
    *(f"{name}.mp4" for name in MATRICES),
    *("sound_first.mp4", "sound_first.mkv", "sound_first.ts", "from_a_pipe.webm"),
]


def coloured_frames(size: tuple[int, int] = SIZE, count: int = COUNT) -> np.ndarray:
    """`numbered_frames` with stripes at the bottom, so that every line and colour counts."""
    frames = numbered_frames(count, *size)
    quarter = size[0] // 4
    frames[:, -quarter::4, :, 1] = 228
    frames[:, 1 - quarter :: 4, ::2, 0] = 128
    return frames


def draw(folder: Path, name: str) -> SimpleNamespace:
    """Write a video of a kind: its ``path``, its ``frames``, and their ``times``."""
    path, options = folder / name, dict(DRAWN.get(name, {}))
    count = options.pop("count", COUNT)
    times = np.array(options.get("times", np.arange(count) / FPS))
    frames = coloured_frames(options.pop("size", SIZE), count)
    if name.startswith("sound_first"):
        times = 3 + times
        write_with_sound(path, frames, times)
    elif name.startswith("from_a_pipe"):
        write_video(folder / "whole.webm", frames, FPS, options=DRAWN["vp9.webm"]["options"])
        through_a_pipe(folder / "whole.webm", path)
    else:
        write_video(path, frames, FPS, **options)
    if path.stem in MATRICES:
        set_matrix(path, MATRICES[path.stem])
    times -= times[0] if "sound" not in name else 0
    return SimpleNamespace(path=path, frames=frames, times=times)


def write_with_sound(path: Path, frames: np.ndarray, times: np.ndarray) -> None:
    """Frames at times, and a sound from 0 to their end."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        codec = "pcm_s16le" if path.suffix == ".mkv" else "mp2"
        sound, size = container.add_stream(codec, rate=32000, layout="mono"), 1152
        for index in range(int(times[-1] * 32000) // size):
            part = av.AudioFrame.from_ndarray(np.zeros((1, size), np.int16), "s16", "mono")
            part.sample_rate, part.pts, part.time_base = 32000, index * size, Fraction(1, 32000)
            container.mux(sound.encode(part))
        for pixels, time in zip(frames, times):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time * FPS), Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux([*video.encode(None), *sound.encode(None)])


def through_a_pipe(source: Path, path: Path) -> None:
    """Copy packets to a file whose header cannot be completed afterwards."""
    with open(path, "wb") as file, av.open(str(source)) as whole:
        pipe = SimpleNamespace(write=file.write)
        with av.open(pipe, "w", format="webm") as output:
            target = output.add_stream_from_template(whole.streams.video[0])
            for packet in whole.demux(video=0):
                if packet.size:
                    packet.stream = target
                    output.mux(packet)


def set_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Overwrite the display matrix in the track header of an MP4."""
    a, b, c, d = (value << 16 for value in matrix)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    assert struct.unpack_from(">9i", content, at) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", content, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def upright(frames: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Move every pixel of frames (N, H, W, 3) to where a display matrix puts it."""
    a, b, c, d = matrix
    y, x = np.mgrid[: frames.shape[1], : frames.shape[2]]
    x, y = a * x + c * y, b * x + d * y
    x, y = x - x.min(), y - y.min()
    moved = np.zeros((len(frames), y.max() + 1, x.max() + 1, 3), np.uint8)
    moved[:, y, x] = frames
    return moved


def by_ffmpeg(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Decode a file with the command line of FFmpeg: frames (N, H, W, 3) RGB, and their seconds.

    Seconds are NaN where it does not know them.
    """
    stamp = "best_effort_timestamp_time"
    asked = f"frame={stamp}:format=start_time"
    line = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", asked]
    report = json.loads(_output([*line, "-of", "json", os.fsencode(path)]))
    start = float(report["format"].get("start_time", 0))
    times = [float(frame.get(stamp, "nan")) - start for frame in report["frames"]]
    line = ["ffmpeg", "-v", "error", "-i", os.fsencode(path), "-map", "0:v:0"]
    how = ["-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "-"]
    raw, frames = _output([*line, *how]), []
    while raw:
        _, width, height, rest = re.split(rb"\s", raw, maxsplit=3)
        height, width = int(height), int(width)
        pixels, raw = rest[4 : 4 + 3 * height * width], rest[4 + 3 * height * width :]
        frames.append(np.frombuffer(pixels, np.uint8).reshape(height, width, 3))
    return np.stack(frames), np.array(times)


def _output(line: list) -> bytes:
    return subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout
