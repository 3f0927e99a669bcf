#!/usr/bin/env python
"""Measure clips per second and core: seeking to the frames of a clip, or decoding whole files.

    python benchmarks/video_decoding.py                           # two generated videos; a minute
    python benchmarks/video_decoding.py ~/kinetics/val/abseiling/*.mp4 --clips 4
    python benchmarks/video_decoding.py --long                    # how a video of 15 minutes opens

Every reader returns the same training clips at random positions (16 x 4 and 32 x 3), in turn in one
run. Times are CPU seconds; all decode in one thread, as in a loader with one process per core.
Generated videos are 10 s of 340 x 256 at 30 frames per second, H.264 with two B-frames in three:
one with a key frame every 250 frames, x264's default, which is why most videos of Kinetics have one
or two; and one with a key frame every second.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np

import mvit_det  # noqa: F401  makes detectron2 importable
from mvit_det.data.decoding.index import forget
from mvit_det.data.decoding.reader import open_video
from mvit_det.data.video.sampling import DenseSampling

CLIPS = {"16x4": DenseSampling(16, 4), "32x3": DenseSampling(32, 3)}
Reader = Callable[[Path, np.ndarray], np.ndarray]


def generate(path: Path, seconds: int, key_every: int, size: tuple[int, int] = (256, 340)) -> Path:
    """Generate a pan over a texture with film grain, as costly to decode as filmed videos."""
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


def read_first(path: Path, frames: np.ndarray) -> np.ndarray:
    """Read by seeking, as when a file is opened for the first time."""
    forget()
    return read_again(path, frames)


def read_again(path: Path, frames: np.ndarray) -> np.ndarray:
    """Read by seeking in a file opened before: the next view in testing, the next box in AVA."""
    with open_video(path) as video:
        return video.frames(frames)


def decode_with_pyav(path: Path, frames: np.ndarray) -> np.ndarray:
    """Decode every frame to RGB with PyAV, then take the clip."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack([decoded[index] for index in frames])


def decode_with_opencv(path: Path, frames: np.ndarray) -> np.ndarray:
    """Decode every frame with OpenCV in BGR; convert only the clip to RGB."""
    capture = cv2.VideoCapture(str(path))
    decoded = []
    while True:
        there, frame = capture.read()
        if not there:
            break
        decoded.append(frame)
    capture.release()
    return np.stack([cv2.cvtColor(decoded[index], cv2.COLOR_BGR2RGB) for index in frames])


READERS: dict[str, Reader] = {
    "mvit_det": read_first,
    "mvit_det, opened before": read_again,
    "PyAV, whole file": decode_with_pyav,
    "OpenCV, whole file": decode_with_opencv,
}


def compare(paths: list[Path], clips: int, rounds: int) -> None:
    """Print clips per second and core of every reader, and the ratio to PyAV's on whole files."""
    for path in paths:
        with open_video(path) as video:
            times = video.times
            shape = "x".join(map(str, video.frames([0]).shape[2:0:-1]))
            print(f"{path.name}: {len(video)} frames, {shape}, {video.fps:.3f} per second")
        for kind, sampling in CLIPS.items():
            random.seed(0)
            wanted = [sampling.train(times) for _ in range(clips)]
            seconds = {name: [] for name in READERS}
            for _ in range(rounds):
                for name, reader in READERS.items():
                    start = time.process_time()
                    for frames in wanted:
                        reader(path, frames)
                    seconds[name].append((time.process_time() - start) / clips)
            best = {name: statistics.median(values) for name, values in seconds.items()}
            for name, value in best.items():
                ratio = best["PyAV, whole file"] / value
                print(f"  {kind}  {name:26}{1 / value:8.1f} clips/s per core{ratio:8.2f} x")


def long_video(folder: Path) -> None:
    """Print the time to open a video of 15 minutes, and to read a clip at minute 10."""
    path = generate(folder / "long.mp4", 900, key_every=250, size=(144, 192))
    frames = np.linspace(18000, 18063, 16).astype(int)
    print(f"{path.name}: 27000 frames, 192x144")
    for name, forgotten in (("first opening", True), ("opened before", False)):
        if forgotten:
            forget()
        start = time.process_time()
        with open_video(path) as video:
            opened = time.process_time()
            video.frames(frames)
        read = time.process_time() - opened
        print(f"  {name}: open {1e3 * (opened - start):.0f} ms, clip 16x4 {1e3 * read:.0f} ms")


def main() -> None:
    """Time the readers on given or generated videos."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, nargs="*")
    parser.add_argument("--clips", type=int, default=8, help="clips of each kind and video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--long", action="store_true", help="time a generated video of 15 minutes instead"
    )
    args = parser.parse_args()
    cv2.setNumThreads(1)
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"
    with tempfile.TemporaryDirectory() as folder:
        if args.long:
            long_video(Path(folder))
            return
        videos = args.videos or [
            generate(Path(folder) / f"key-every-{gop}.mp4", 10, key_every=gop) for gop in (250, 30)
        ]
        compare(videos, args.clips, args.rounds)


if __name__ == "__main__":
    main()
