"""Videos are looked at, at key frames with people: what actions and proposals have in common."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from mvit_det.ava_files import BoxTable, write_detections
from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.engine.stop import StopRequest
from mvit_det.errors import UserError, some
from mvit_det.predict.actions import not_within, within
from mvit_det.predict.person_boxes import BoxFile, PersonFinder
from mvit_det.predict.predictor import Predictor
from mvit_det.predict.writers import Results
from mvit_det.tasks.actions import People

PROPOSALS = "proposals.csv"

# the actions of its rows, and a function from people to the scores (N, len(actions))
CsvFile = tuple[list[int], Callable[[People], np.ndarray]]


class KeyFrameRunner(ABC):
    """One video after the other is looked at, at key frames with people.

    Attributes:
        seen: what is known, by the name of the video.
    """

    def __init__(
        self,
        predictor: Predictor,
        source: BoxFile | PersonFinder,
        results: Results,
        stop: StopRequest,
    ) -> None:
        self.predictor = predictor
        self.source = source
        self.results = results
        self.stop = stop
        self.seen: dict[str, list[People]] = {}

    @abstractmethod
    def open(self, path: Path) -> AbstractContextManager[OpenVideo]:
        """A video file or a folder of frames, for a ``with`` block."""

    @abstractmethod
    def see_video(self, path: Path, video: OpenVideo, name: str) -> list[str]:
        """Fill ``seen`` from an opened video, and draw; returns faults in parts of it."""

    @abstractmethod
    def csv_files(self) -> dict[str, CsvFile]:
        """By their names."""

    def see(self, paths: Sequence[Path], report: Callable[[Path, str], None]) -> None:
        """Each video; the csv files of what is known are written whatever ends it."""
        names = [path.name if path.is_dir() else path.stem for path in paths]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UserError(
                f"Several videos have the name {some(twice)}, by which csv files call them: rename "
                "them, or give them one at a time."
            )
        try:
            for path, name in zip(paths, names):
                if self.stop.requested:
                    return
                try:
                    with self.open(path) as video:
                        faults = self.see_video(path, video, name)
                        faults += [video.fault] if video.fault else []
                except (VideoError, UserError) as error:
                    faults = [str(error)]
                if faults:
                    report(path, some(faults, limit=3))
        finally:
            self._write_csv_files()

    def seconds(self, video: OpenVideo, name: str) -> tuple[list[float], list[str]]:
        """The key frames of a video, and what is wrong with others."""
        seconds, outside = within(video, self.source.seconds(name, video))
        faults = [not_within(video, outside)] if outside else []
        if outside and not seconds:
            faults[0] += "; is --start right, the second of the csv at which the video begins?"
        return seconds, faults

    def _write_csv_files(self) -> None:
        for name, (actions, scores_of) in self.csv_files().items():
            table = as_table(self.seen, self.source.start, actions, scores_of)
            if len(table):
                write_detections(self.results.folder / name, table)
                self.results.further.append(name)


def proposals() -> CsvFile:
    """Boxes of people."""
    # -1 is no action
    return [-1], lambda one: one.box_scores[:, None]


def place(video: OpenVideo, frame: int) -> dict[str, Any]:
    """Where a frame is, for images.json."""
    return dict(frame=frame, seconds=round(float(video.times[frame]), 6))


def left_out(second: float, error: VideoError) -> str:
    """The fault of a key frame that cannot be decoded."""
    return f"second {second:g} is left out, {error}"


def as_table(
    seen: dict[str, list[People]],
    start: float,
    actions: Sequence[int],
    scores_of: Callable[[People], np.ndarray],
) -> BoxTable:
    """A row for each box and action.

    Args:
        start: the second that the beginning of a video is called.
        scores_of: gives (N, len(actions)).
    """
    found = [(video, one) for video, people in enumerate(seen.values()) for one in people]
    counts = [len(one.boxes) for _, one in found]
    count = len(actions)
    boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes for _, one in found)])
    scores = [scores_of(one).astype(np.float64) for _, one in found]
    video = np.repeat(np.array([video for video, _ in found], np.int32), counts)
    second = np.repeat([round(one.second + start, 6) for _, one in found], counts)
    return BoxTable(
        list(seen),
        video.repeat(count),
        second.repeat(count),
        boxes.repeat(count, axis=0),
        np.tile(np.asarray(actions, np.int64), len(boxes)),
        np.concatenate([np.zeros((0, count)), *scores]).ravel(),
        np.zeros(len(boxes) * count, np.int64),
    )
