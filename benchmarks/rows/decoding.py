"""Clips of a video: seeking to their frames, or decoding the whole file.

    python benchmarks/compare.py decoding-16x4-key250-pyav --videos ~/kinetics/val/abseiling/*.mp4
    python benchmarks/compare.py decoding-long           # how a video of 15 minutes opens

Both sides return the same training clips at random positions, and decode in one thread, as in a
loader with one process per core. Generated videos are 10 s of 340 x 256 at 30 frames per second,
H.264 with two B-frames in three, with a key frame every 250 frames, x264's default, which is why
most videos of Kinetics have one or two; or with one every second. PyAV converts every frame to RGB,
OpenCV (from BGR) those of the clip alone. In rows "-again" our side has opened the file before: the
next view in testing, the next box in AVA.
"""

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rows import Experiment, Options, Row

CLIPS = {"16x4": (16, 4), "32x3": (32, 3)}  # frames, frame step
PEERS = {"pyav": ("PyAV, whole file", "av"), "opencv": ("OpenCV, whole file", "cv2")}
COUNT = 8  # clips per video
DEFAULT = {"decoding-16x4-key250-pyav", "decoding-16x4-key30-pyav"}


def rows() -> Iterator[Row | Experiment]:
    """Yield the rows; two of them are not only run when they are named."""
    for clip in CLIPS:
        for gop in (250, 30):
            for peer, (title, module) in PEERS.items():
                for again in (False, True):
                    name = f"decoding-{clip}-key{gop}-{peer}" + "-again" * again
                    what = f"{COUNT} clips {clip} of a video of 10 s, key frame every {gop}"
                    yield Row(
                        name,
                        what + ", opened before" * again,
                        title,
                        module,
                        partial(_build, CLIPS[clip], peer, again),
                        precisions=False,
                        prepare=partial(_prepare, gop),
                        named=name not in DEFAULT,
                    )
    what = "how long a video of 15 minutes takes to open, and a clip of it to read"
    yield Experiment("decoding-long", what, long_video)


def generate(path: Path, seconds: int, key_every: int, size: tuple[int, int] = (256, 340)) -> Path:
    """Generate a pan over a texture with film grain, as costly to decode as filmed videos."""
    import av
    import cv2

    height, width = size
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(
        rng.integers(0, 256, (2 * height, 4 * width, 3), np.uint8), (0, 0), 3
    )
    texture = cv2.normalize(texture, None, 20, 235, cv2.NORM_MINMAX)
    grain = rng.integers(-6, 7, (16, height, width, 3))
    with av.open(str(path), "w") as container:
        options = {"preset": "medium", "x264-params": "bframes=2:b-adapt=0"}
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = key_every
        for index in range(seconds * 30):
            x = int(1.5 * width * (1 + np.sin(index / 40)))
            y = int(0.5 * height * (1 + np.cos(index / 30)))
            view = texture[y : y + height, x : x + width] + grain[index % len(grain)]
            view = np.ascontiguousarray(view, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _prepare(gop: int, options: Options) -> None:
    if not options.videos:
        size = (64, 80) if options.quick else (256, 340)
        generate(Path(options.folder) / "video.mp4", 10, gop, size)


def _build(clip: tuple[int, int], peer: str, again: bool, side: str, options: Options) -> Any:
    import mvit_det  # noqa: F401  makes detectron2 importable
    from mvit_det.data import DenseSampling
    from mvit_det.data.decoding.reader import open_video

    paths = [Path(path) for path in options.videos] or [Path(options.folder) / "video.mp4"]
    sampling, wanted = DenseSampling(*clip), []
    random.seed(0)
    for path in paths:
        with open_video(path) as video:
            wanted += [(path, sampling.train(video.times)) for _ in range(COUNT)]
    read: Callable[[Path, np.ndarray], np.ndarray]
    if side == "peer":
        read = {"pyav": decode_with_pyav, "opencv": decode_with_opencv}[peer]
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"
    else:
        read = read_again if again else read_first
    return lambda: [read(path, frames) for path, frames in wanted]


def read_first(path: Path, frames: np.ndarray) -> np.ndarray:
    """Read frames (T,) by seeking, as when a file is opened for the first time."""
    from mvit_det.data.decoding.index import forget

    forget()
    return read_again(path, frames)


def read_again(path: Path, frames: np.ndarray) -> np.ndarray:
    """Read frames (T,) by seeking in a file opened before; return (T, H, W, 3) RGB."""
    from mvit_det.data.decoding.reader import open_video

    with open_video(path) as video:
        return video.frames(frames)


def decode_with_pyav(path: Path, frames: np.ndarray) -> np.ndarray:
    """Decode every frame to RGB with PyAV, then take the clip."""
    import av

    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack([decoded[index] for index in frames])


def decode_with_opencv(path: Path, frames: np.ndarray) -> np.ndarray:
    """Decode every frame with OpenCV in BGR; convert only the clip to RGB."""
    import cv2

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(path))
    decoded = []
    while True:
        there, frame = capture.read()
        if not there:
            break
        decoded.append(frame)
    capture.release()
    return np.stack([cv2.cvtColor(decoded[index], cv2.COLOR_BGR2RGB) for index in frames])


def long_video(arguments: Sequence[str] = ()) -> dict[str, float]:
    """Print the time to open a video of 15 minutes, and to read a clip at minute 10."""
    import mvit_det  # noqa: F401  makes detectron2 importable
    from mvit_det.data.decoding.index import forget
    from mvit_det.data.decoding.reader import open_video

    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        path = generate(Path(folder) / "long.mp4", 900, key_every=250, size=(144, 192))
        frames = np.linspace(18000, 18063, 16).astype(int)
        print("27000 frames, 192x144, CPU seconds")
        forget()
        for name in ("first opening", "opened before"):
            start = time.process_time()
            with open_video(path) as video:
                opened = time.process_time()
                video.frames(frames)
            figures[f"{name}, open"] = opened - start
            figures[f"{name}, clip 16x4"] = time.process_time() - opened
    for name, seconds in figures.items():
        print(f"  {name}: {1e3 * seconds:.0f} ms")
    return figures
