"""Run over the key frames of videos: detect the actions of people, or the people themselves."""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvit_det.ava_files import detections_table, write_detections
from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.errors import UserError, printable, shorten_list
from mvit_det.predict.actions import not_within, within
from mvit_det.predict.open_frames import Shown, frame_at, gathered
from mvit_det.predict.person_boxes import BoxFile, PersonFinder, as_shares
from mvit_det.predict.progress import progress
from mvit_det.predict.run import Run
from mvit_det.predict.sources import Frame
from mvit_det.tasks.actions import People

logger = logging.getLogger(__name__)

DETECTIONS, PROPOSALS = "detections.csv", "proposals.csv"
HELD = 1.0  # seconds for which boxes stay at least, unless new ones follow
TOLD = 5  # actions in a line of the log
SLIDES = 1.0  # frames per second of a video of key frames

# action ids of the rows, and a function from people to their scores (N, len(actions))
CsvFile = tuple[list[int], Callable[[People], np.ndarray]]


class KeyFrameRunner(ABC):
    """Iterates over videos and the key frames of each, with boxes of people.

    Attributes:
        seen: the results so far, by video name.
    """

    def __init__(self, run: Run, source: BoxFile | PersonFinder) -> None:
        self.run = run
        self.source = source
        self.seen: dict[str, list[People]] = {}

    @abstractmethod
    def see_video(self, path: Path, video: OpenVideo) -> list[str]:
        """Fill ``seen`` from an open video, and draw; return faults in parts of it."""

    def csv_files(self) -> dict[str, CsvFile]:
        """Return the csv files to write, by name: the boxes, if they were detected here."""
        # -1 stands for no action
        boxes = [-1], lambda one: one.box_scores[:, None]
        return {PROPOSALS: boxes} if isinstance(self.source, PersonFinder) else {}

    def see(self, paths: Sequence[Path]) -> None:
        """Run over each video; write the csv files of what is known even after an exception.

        Raises:
            UserError: two videos have the same name, which csv files identify them by.
        """
        names = Counter(map(_name, paths))
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise UserError(
                f"Several videos have the name {shorten_list(twice)}, by which csv files call them: rename "
                "them, or give them one at a time."
            )
        try:
            self.run.see_videos(paths, self.see_video)
        finally:
            self._write_csv_files()

    def seconds(self, path: Path, video: OpenVideo) -> tuple[list[float], list[str]]:
        """Return the key frames of a video in seconds, and the faults of those outside it."""
        seconds, outside = within(video, self.source.seconds(_name(path), video))
        faults = [not_within(video, outside)] if outside else []
        if outside and not seconds:
            faults[0] += "; is --start right, the second of the csv at which the video begins?"
        return seconds, faults

    def note(self, frame: Frame, result: Any, video: OpenVideo, index: int) -> None:
        """Write the result for the frame of this index, which was drawn as ``frame``."""
        second = round(float(video.times[index]), 6)
        self.run.results.note(frame, result, frame=index, seconds=second)

    def _write_csv_files(self) -> None:
        results, start = self.run.results, self.source.start
        known = [(video, one) for video, people in self.seen.items() for one in people]
        known = [(video, one) for video, one in known if len(one.boxes)]
        for name, (actions, scores_of) in self.csv_files().items() if known else ():
            frames = [
                (video, round(one.second + start, 6), one.boxes, scores_of(one))
                for video, one in known
            ]
            write_detections(results.folder / name, detections_table(frames, actions))
            results.further.append(name)


class ActionRunner(KeyFrameRunner):
    """Detects the actions of people at key frames."""

    def see_video(self, path: Path, video: OpenVideo) -> list[str]:
        """See `KeyFrameRunner.see_video`."""
        seconds, faults = self.seconds(path, video)
        people = self.seen[_name(path)] = []

        def note(frame: Frame) -> None:
            for one in people:
                self.note(frame, one, video, one.frame)

        found = self.run.predictor.people(
            video,
            seconds,
            lambda clip: self.source.at(_name(path), clip),
            lambda second, error: faults.append(left_out(second, error)),
        )
        for one in progress(found, len(seconds), "key frames"):
            people.append(one)
            if self.run.stop.requested:
                break
        if people:
            self._log(path, people)
            try:
                self.run.annotate(path, video, people_shown(people, video.times), note)
            except VideoError as error:
                faults.append(str(error))
        return faults

    def csv_files(self) -> dict[str, CsvFile]:
        """Add the scores of all named actions."""
        ids = [category["id"] for category in self.run.predictor.categories]
        actions = ids, lambda one: one.scores.numpy()[:, np.array(ids) - 1]
        return {DETECTIONS: actions, **super().csv_files()}

    def _log(self, path: Path, people: Sequence[People]) -> None:
        """Log the most frequent actions of a video; warn of boxes that the model does not see."""
        inference, categories = self.run.predictor.inference, self.run.predictor.categories
        counts = Counter(
            category["name"]
            for one in people
            for actions in inference.best(one, categories)
            for category, _ in actions
        )
        told = ", ".join(f"{name} ({count})" for name, count in counts.most_common(TOLD))
        logger.info(
            "%s: %d key frames, %d boxes; mostly: %s",
            *(printable(path), len(people), sum(len(one.boxes) for one in people)),
            told or "nothing",
        )
        unseen = sum(map(inference.unseen, people))
        if unseen:
            logger.warning(
                "%s: %d boxes are beside the part of the frame that the model is shown, and their "
                "scores mean nothing: add dataloader.test.mapper.transform.crop=full",
                *(printable(path), unseen),
            )


class ProposalRunner(KeyFrameRunner):
    """Detects people at key frames, as proposals for an action detector.

    The annotated video consists of the key frames only.
    """

    def see_video(self, path: Path, video: OpenVideo) -> list[str]:
        """See `KeyFrameRunner.see_video`."""
        seconds, faults = self.seconds(path, video)
        keys = [frame_at(video, second) for second in seconds]
        source = Shown(path, SLIDES)
        pictures = gathered(
            video,
            [[key] for key in keys],
            lambda number, error: faults.append(left_out(seconds[number], error)),
        )
        people = self.seen[_name(path)] = []
        for number, [picture] in progress(pictures, len(seconds), "key frames"):
            image = np.ascontiguousarray(picture[..., ::-1])
            frame = Frame(source, keys[number], image, len(people) / SLIDES)
            found = self.source.found(frame.image)
            boxes, sure = as_shares(found)
            place = seconds[number], keys[number], picture.shape[:2]
            people.append(People(*place, boxes, torch.zeros(len(boxes), 0), sure))
            self.run.results.show(frame, found)
            self.note(frame, found, video, keys[number])
            if self.run.stop.requested:
                break
        return faults


def left_out(second: float, error: VideoError) -> str:
    """Describe a key frame that cannot be decoded."""
    return f"second {second:g} is left out, {error}"


def people_shown(people: Sequence[People], times: np.ndarray) -> list[People | None]:
    """Choose whom to draw in each frame: people of the last key frame, unless it is long past.

    Args:
        people: of each key frame, in order.
        times: (N,) start times of the frames in seconds.

    Returns:
        N entries; None where nobody is drawn.
    """
    gaps = [later.second - one.second for one, later in zip(people, people[1:])]
    held = max(HELD, min(gaps, default=0.0)) - 1e-6
    shown: list[People | None] = [None] * len(times)
    ends = [one.frame for one in people[1:]] + [len(times)]
    for one, end in zip(people, ends):
        for frame in range(one.frame, end):
            if times[frame] < one.second + held:
                shown[frame] = one
    return shown


def _name(path: Path) -> str:
    """Return how csv files name a video: its file without the suffix, or its folder."""
    return path.name if path.is_dir() else path.stem
