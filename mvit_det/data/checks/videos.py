"""Checks of one video, a file or a folder of frames, that need it to be opened."""

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from mvit_det.data.checks.findings import FileReport, Finding, Severity
from mvit_det.data.decoding.frame_names import frame_names
from mvit_det.data.decoding.reader import OpenVideo, VideoError, open_video
from mvit_det.data.decoding.stream import VideoStream
from mvit_det.data.video.datasets import VideoClasses
from mvit_det.data.video.discovery import find_videos
from mvit_det.data.video.frame_folders import differs, mixed_kinds
from mvit_det.errors import shorten_list

_MEGABYTE = 2**20
_COST = 3  # of reading a megabyte, in the time of a picture
# Pixels of the shorter side. Released models are trained on frames resized to at most that.
_USUAL_SIDE = 320
# A step between frames differs from the median by more than this factor.
_UNEVEN = 1.5
# Few large steps with at least that share of the frames inside are a loss, not a variable rate.
_FEW, _LOST = 0.02, 0.05
_LONG = np.arange(4096) / 30  # seconds of the frames of a video that is never too short
_BATCH = 64  # pictures of a folder in memory


@dataclass(frozen=True)
class VideoCheck:
    """The check of one video of a classification data set.

    All packets are read, which takes no decoding; decoded are the first frame, the key frame next
    to the middle, and the last frame; or all frames.

    Attributes:
        path: a video file or a folder of frames.
        fps: frames per second of folders of frames; None: 30.
        sampling: chooses the frames of a clip by ``test(times, clip, clips)``; None: not checked.
        side: shorter side of the model's input in pixels; 0: unknown.
        listed: number of frames of a folder by the list; None: it does not say.
        full: decode all frames.
    """

    path: str
    fps: float | None = None
    sampling: Any = None
    side: int = 0
    listed: int | None = None
    full: bool = False

    @property
    def cost(self) -> float:
        """Estimate the time that it takes, in that of a picture, by the size of the file."""
        size = os.path.getsize(self.path) if os.path.isfile(self.path) else 0
        return (1 + _COST * size / _MEGABYTE) * (10 if self.full else 1)

    def run(self) -> FileReport:
        """Read the video; a video that cannot be read is a finding."""
        return FileReport(list(self._findings()), content_digest(self.path))

    def finding(self, severity: Severity, kind: str, message: str, **ids: Any) -> Finding:
        """Build a finding of this file."""
        return Finding(severity, kind, message, file=self.path, ids=ids, picture=self.path)

    def _findings(self) -> Iterator[Finding]:
        try:
            with open_video(self.path, fps=self.fps) as video:
                yield from self.judge(video)
        except VideoError as error:
            message = f"it cannot be read ({error}): download or convert it again, or take it out"
            yield self.finding("error", "unreadable video", message)

    def judge(self, video: OpenVideo) -> Iterator[Finding]:
        """Yield what is wrong with an open video.

        Raises:
            VideoError: a frame cannot be decoded.
        """
        folder = os.path.isdir(self.path)
        if folder:
            yield from self._judge_folder(video)
        elif video.fault or video.lost:
            lost = f"its index has {video.lost} more frames than the file"
            yield self.finding(
                "warning",
                "video ends early",
                f"{video.fault or lost}: download or convert it again",
            )
        yield from self._judge_times(video)
        middle = len(video) // 2
        if len(video.key_frames):
            middle = video.key_frames[np.abs(video.key_frames - middle).argmin()]
        size = video.frames([0, middle, len(video) - 1]).shape[1:3]
        yield from self._judge_frames(video, *size)
        if self.full and folder:
            for start in range(0, len(video), _BATCH):
                video.frames(range(start, min(start + _BATCH, len(video))))
        elif self.full and not video.fault:
            with closing(VideoStream(self.path)) as stream:
                deque(stream.decode_all(), maxlen=0)

    def _judge_folder(self, video: OpenVideo) -> Iterator[Finding]:
        names = frame_names(self.path).names
        if kinds := mixed_kinds(names):
            yield self.finding(
                "warning", "mixed frames", f"{kinds} all become frames: keep one kind there"
            )
        elif self.listed is not None and differs(len(names), self.listed):
            yield self.finding(
                "warning",
                "number of frames",
                f"it has {len(names)} pictures, the list says {self.listed}: unpack it again",
            )
        if video.lost:
            yield self.finding(
                "warning",
                "lost frames",
                f"{video.lost} pictures are missing by the numbers in the names, and the previous "
                "ones are used instead: unpack it again",
            )
        empty = [n for n in names if not os.path.getsize(os.path.join(self.path, n))]
        if empty:
            yield self.finding(
                "error",
                "empty frames",
                f"{len(empty)} pictures have 0 bytes ({shorten_list(empty, 3)}): unpack it again",
            )

    def _judge_times(self, video: OpenVideo) -> Iterator[Finding]:
        steps = np.diff(video.times)
        if len(steps) and not video.lost:
            usual, longest = float(np.median(steps)), int(steps.argmax())
            gaps = steps > _UNEVEN * usual
            lost = (steps[gaps] / usual).sum() - gaps.sum()
            if gaps.any() and gaps.mean() <= _FEW and lost > _LOST * len(video):
                yield self.finding(
                    "warning",
                    "gap between frames",
                    f"no frame begins for {steps[longest]:.2g} s after second "
                    f"{video.times[longest]:.4g}, while others are {usual:.2g} s apart: unless the "
                    "picture stands still there, download or convert it again",
                )
            elif gaps.any() or (steps < usual / _UNEVEN).any():
                yield self.finding(
                    "note",
                    "variable frame rate",
                    f"its frames are {steps.min():.2g} to {steps.max():.2g} s apart: clips are "
                    "sampled by time, but annotations by frame index do not fit",
                )
        if self.sampling is None:
            return
        indices = self.sampling.test(video.times, 0, 1)
        distinct = len(set(indices.tolist()))
        if distinct < len(set(self.sampling.test(_LONG, 0, 1).tolist())):
            yield self.finding(
                "warning" if 2 * distinct < len(indices) else "note",
                "short video",
                f"its {len(video)} frames of {video.end - video.times[0]:.3g} s give a clip of "
                f"{len(indices)} frames only {distinct} different ones: take it out, or sample "
                "shorter clips",
            )

    def _judge_frames(self, video: OpenVideo, height: int, width: int) -> Iterator[Finding]:
        short = min(height, width)
        if short < self.side:
            yield self.finding(
                "note",
                "small frames",
                f"its frames of {width}x{height} pixels are enlarged to the {self.side} of the "
                "model: get a larger copy",
            )
        elif short > 2 * max(_USUAL_SIDE, self.side):
            yield self.finding(
                "note",
                "large frames",
                f"decoding {width}x{height} pixels takes {(short / _USUAL_SIDE) ** 2:.0f} times as "
                f"long as with a shorter side of {_USUAL_SIDE}: convert it",
            )
        if video.turned:
            yield self.finding(
                "note",
                "rotated video",
                f"players rotate or mirror it as its header says, and so it is read ({width}x"
                f"{height} pixels): boxes must be those of the turned frames",
            )


def content_digest(path: str) -> int | None:
    """Return 8 bytes that are the same for equal videos: of size and first megabyte.

    Of a folder: of the number of its pictures, the first and the middle one. None: unreadable.
    """
    paths, count = [path], 0
    try:
        if os.path.isdir(path):
            names = frame_names(path).names
            count = len(names)
            paths = [os.path.join(path, names[index]) for index in (0, count // 2)]
        digest = hashlib.blake2b(str(count).encode(), digest_size=8)
        for each in paths:
            digest.update(str(os.path.getsize(each)).encode())
            with open(each, "rb") as file:
                digest.update(file.read(_MEGABYTE))
    except (OSError, VideoError):
        return None
    return int.from_bytes(digest.digest(), "big")


def video_checks(
    dataset: Iterable[Mapping[str, Any]], **options: Any
) -> Iterator[Finding | VideoCheck]:
    """Yield the rows of a list that have no video, and the check of each video.

    Args:
        dataset: `VideoClasses` or the items of another data set, with "file_name" and maybe "fps".
        **options: of `VideoCheck`.
    """
    listed: Mapping[str, int] = {}
    if isinstance(dataset, VideoClasses):
        files = dataset.files
        if dataset.missing:
            for name in find_videos(files.list_file, files.source)[1]:
                yield missing_video(name, files.list_file, "it is left out")
        if files.frames is not None:
            listed = {files.path(row): int(count) for row, count in enumerate(files.frames)}
    for path, fps in {item["file_name"]: item.get("fps") for item in dataset}.items():
        yield VideoCheck(path, fps, listed=listed.get(path), **options)


def missing_video(name: str, file: str, effect: str) -> Finding:
    """Build the finding of a video that a file names and the folder of videos lacks."""
    message = f"the video {name} is not found, and {effect}: add it, or delete its rows"
    return Finding("warning", "missing video", message, file=file, ids=dict(video=name))


def clip_side(mapper: DictConfig) -> int:
    """Return the shorter side in pixels that a mapper's config node transforms to; 0: unknown."""
    size = OmegaConf.select(mapper, "transform.size")
    return min(size[-2:]) if size else 0
