"""Small videos on disk, whose frames can be distinguished after any codec."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

CODECS = {".mp4": "libx264", ".mkv": "libx264", ".avi": "mpeg4", ".webm": "libvpx-vp9"}
BITS = 12
TICKS = 15360  # per second: a multiple of the usual frame rates


def numbered_frames(count: int, height: int = 48, width: int = 64, first: int = 0) -> np.ndarray:
    """Frames (count, height, width, 3) that `numbers` reads: first, first + 1, ... up to 4095.

    The number is written as 12 vertical bars, black or white, least significant bit first; the
    colours at the top (red) and the bottom (blue) show whether a frame is upright.
    """
    bits = (np.arange(first, first + count)[:, None] >> np.arange(BITS)) & 1
    bars = np.repeat(bits, width // BITS, axis=1) * 200 + 28
    frames = np.full((count, height, width, 3), 28, np.uint8)
    frames[:, height // 4 : -(height // 4), : bars.shape[1]] = bars[:, None, :, None]
    frames[:, : height // 4, :, 0] = 228
    frames[:, -(height // 4) :, :, 2] = 228
    return frames


def numbers(frames: np.ndarray) -> list[int]:
    """Read the numbers of decoded frames that `numbered_frames` has made."""
    height, width = frames.shape[1:3]
    bar = width // BITS
    middle = frames[:, height // 2 - height // 8 : height // 2 + height // 8].mean(axis=(1, 3))
    bars = middle[:, : BITS * bar].reshape(len(frames), BITS, bar)
    bars = bars[:, :, bar // 4 : bar - bar // 4].mean(axis=2)  # edges are blurred
    return ((bars > 128) << np.arange(BITS)).sum(axis=1).tolist()


def write_video(
    path: Path,
    frames: np.ndarray,
    fps: float | Fraction = 30,
    *,
    codec: str | None = None,
    gop: int = 12,
    b_frames: int | None = None,
    pix_fmt: str = "yuv420p",
    times: Sequence[float] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    index_first: bool = False,
    colors: dict[str, int] | None = None,
) -> Path:
    """Write frames (N, H, W, 3) uint8 RGB to a video file; returns its path.

    Args:
        codec: by default the usual one of the file's suffix (mp4, mkv, avi, webm).
        gop: largest distance of key frames, in frames.
        b_frames: largest number in a row; None: the default of the codec.
        times: seconds of each frame, for a variable rate.
        rotation: degrees counterclockwise that a player turns the frames by: a multiple of 90.
        options: of the codec.
        index_first: put an mp4's index before its frames, as files for streaming have it: without
            it an mp4 that is cut short cannot be opened at all.
        colors: "color_range", "colorspace", ... of the codec, by FFmpeg's numbers.
    """
    path = Path(path)
    rate = Fraction(fps).limit_denominator(1001)
    height, width = frames.shape[1:3] if len(frames) else (48, 64)
    container_options = {"movflags": "faststart"} if index_first else {}
    with av.open(str(path), "w", container_options=container_options) as container:
        codec = codec or CODECS[path.suffix]
        if "264" in codec:
            options = {"crf": "20", "preset": "ultrafast"} | (options or {})
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        context = stream.codec_context
        context.gop_size = gop
        context.thread_count = 1
        for name, value in (colors or {}).items():
            setattr(context, name, value)
        if b_frames is not None:
            context.max_b_frames = b_frames
        if times is not None:
            context.time_base = Fraction(1, TICKS)
        if rotation:
            stream.set_display_rotation(rotation)
        container.start_encoding()  # a file of no frames has a header too
        reformatter = VideoReformatter()  # its preparation takes longer than a small frame
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = reformatter.reformat(frame, format=pix_fmt, threads=1)
            frame.time_base = 1 / rate if times is None else Fraction(1, TICKS)
            frame.pts = index if times is None else round(times[index] * TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_audio(path: Path, seconds: float = 0.5) -> Path:
    """Write a file with sound only, such as audio.mp4."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for index in range(int(seconds * 16000) // 1024):
            sound = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, index * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_without_frames(path: Path) -> Path:
    """Write a video file with a header and no frames."""
    return write_video(path, np.zeros((0, 48, 64, 3), np.uint8))


def write_frame_folder(folder: Path, frames: np.ndarray, template: str = "{:05d}.jpg") -> Path:
    """Write a folder of pictures, numbered from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(frames, start=1):
        Image.fromarray(pixels).save(folder / template.format(number), quality=95)
    return folder


def cut_short(path: Path, share: float = 0.5) -> Path:
    """Keep the first part of a file's bytes, as after an interrupted download."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def damage(path: Path, share: float = 0.5, size: int = 400) -> Path:
    """Overwrite bytes from the given place on, as a faulty disk does."""
    content = bytearray(path.read_bytes())
    start = int(len(content) * share)
    content[start : start + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(bytes(content))
    return path
