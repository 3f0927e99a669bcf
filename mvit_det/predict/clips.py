"""Prediction of a classifier of clips: the best classes of whole videos, or of window after window."""

import math
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import instantiate
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate

from mvit_det.data.custom.categories import Category
from mvit_det.data.video.sampling import on_screen
from mvit_det.errors import UserError
from mvit_det.evaluation.classification.metrics import TOP
from mvit_det.predict.classification import Classification, best
from mvit_det.predict.open_frames import opened
from mvit_det.predict.sources import Picture, Video

MOST_WINDOWS = 10  # for each frame, on average: where frames are rare, windows may have none
SHOWN = 3  # classes in a row of the log's table


@dataclass(frozen=True)
class Span:
    """What a model says of a part of a video.

    Attributes:
        start, end: in seconds.
        frames: the numbers of its frames.
        scores: (K,) of all classes, on the CPU; they sum to 1.
    """

    start: float
    end: float
    frames: range
    scores: torch.Tensor


class ClipClassification(Classification):
    """Names videos: the results are the scores (K,) of all classes, averaged over the test views.

    Args:
        sampling: chooses the frames of a clip, as the config does in testing.
        transform: makes the model's input (crops, 3, T, H, W) of frames (T, H, W, 3) RGB.
        clips: of a video, or of a window of one.
        fps: frames per second of folders of frames.
    """

    def __init__(self, sampling: Any, transform: Any, clips: int, fps: float | None = None) -> None:
        super().__init__(transform)
        self.sampling = sampling
        self.clips = clips
        self.fps = fps

    @classmethod
    def of_loader(cls, loader: DictConfig) -> "ClipClassification":
        """With the sampling, the transform and the views of the config's test loader."""
        mapper = loader.mapper
        clips = OmegaConf.select(loader, "dataset.clips", default=1)
        # older configs have `video_views` there, and the data set inside
        fps = (OmegaConf.select(loader, "dataset.dataset") or loader.dataset).get("fps")
        return cls(instantiate(mapper.sampling), instantiate(mapper.transform), clips, fps)

    def open(
        self, video: str | os.PathLike | np.ndarray, fps: float | None = None
    ) -> AbstractContextManager:
        """A video file, a folder of frames, or an array of frames, for a ``with`` block."""
        return opened(video, fps, self.fps)

    def views(self, video: Any, part: range) -> Iterator[torch.Tensor]:
        """The crops (crops, 3, T, H, W) of each clip of a part of an opened video."""
        times = video.times[part.start : part.stop]
        for clip in range(self.clips):
            indices = self.sampling.test(times - times[0], clip, self.clips) + part.start
            yield self.transform(video.frames(indices))

    def rows(
        self, result: Sequence[Span], image_id: int, categories: Sequence[Category]
    ) -> list[dict[str, Any]]:
        """One entry per span, with its best classes, the best first."""
        entries = []
        for span in result:
            [entry] = super().rows(span.scores, image_id, categories)
            times = {"start": round(span.start, 6), "end": round(span.end, 6)}
            entries.append({"image_id": image_id, **times, "classes": entry["classes"]})
        return entries

    def told(self, rows: int) -> str:
        """What has come of it, in words."""
        return f"up to {TOP} classes for each of {rows} videos or windows"


def parts(times: np.ndarray, length: float, window: float | None) -> list[tuple[float, float, range]]:
    """Cut a video into windows of equal length: (start, end, frames) of each.

    The last one is moved back so that it ends with the video; where they overlap it counts.

    Args:
        times: (N,) seconds at which frames begin, from the start of the video on.
        length: the second at which the last one ends.
        window: in seconds; None for the whole video.
    """
    if window is None or window >= length:
        return [(0.0, length, range(len(times)))]
    if length > MOST_WINDOWS * len(times) * window:
        raise UserError(
            f"window={window}, in seconds, is too short for a video of {len(times)} frames in "
            f"{length:.3g} s: choose one of at least a frame, {length / len(times):.3g}."
        )
    found = []
    for number in range(math.ceil(length / window - 1e-6)):
        start = min(number * window, length - window)
        first, last = np.searchsorted(times, (start - 1e-6, start + window - 1e-6)).tolist()
        if first == last:  # none begins in it: the one that is on screen
            first = int(on_screen(times, start))
        found.append((start, start + window, range(first, max(last, first + 1))))
    return found


def span_at(spans: Sequence[Span], frame: int) -> Span:
    """The last of the spans, which are in order, that a frame, by its number, is in."""
    return spans[max(0, bisect_right(spans, frame, key=lambda span: span.frames.start) - 1)]


def table(spans: Sequence[Span], categories: Sequence[Category]) -> str:
    """The best classes and their probabilities in percent, a row for each span."""
    rows = []
    for span in spans:
        row = [f"{span.start:.1f} - {span.end:.1f} s"]
        for category, score in best(span.scores, categories)[:SHOWN]:
            row += [f"{100 * score:.1f}", category["name"]]
        rows.append(row)
    head = ["time", *["%", "class"] * (len(rows[0]) // 2)]
    return tabulate(rows, head, tablefmt="pipe", disable_numparse=True)


def check_window(window: float | None) -> None:
    """Refuse what is no length of time."""
    if window is not None and not 0 < window < math.inf:
        raise UserError(f"window={window}, in seconds, must be above 0.")


def videos_of(sources: Sequence[Picture | Video]) -> tuple[list[Path], list[Path]]:
    """Videos among inputs, and pictures, which are none; each in the order given.

    Several pictures of one folder are the frames of one video: their folder.
    """
    counts = Counter(one.path.parent for one in sources if isinstance(one, Picture))
    videos: dict[Path, None] = {}
    pictures = []
    for one in sources:
        if isinstance(one, Video):
            videos[one.path] = None
        elif counts[one.path.parent] > 1:
            videos[one.path.parent] = None
        else:
            pictures.append(one.path)
    return list(videos), pictures
