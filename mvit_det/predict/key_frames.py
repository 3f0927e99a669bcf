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
from mvit_det.predict.key_clips import describe_outside, split_seconds
from mvit_det.predict.open_frames import frame_at, read_groups
from mvit_det.predict.person_boxes import BoxFile, PersonFinder, boxes_as_fractions
from mvit_det.predict.run import Run
from mvit_det.predict.sources import Frame, Source
from mvit_det.progress import progress
from mvit_det.tasks.actions import People

logger = logging.getLogger(__name__)

DETECTIONS, PROPOSALS = "detections.csv", "proposals.csv"
MIN_VISIBLE = 1.0  # seconds for which boxes are drawn at least, unless new ones follow
LOGGED_ACTIONS = 5  # in a line of the log
KEY_FRAME_RATE = 1.0  # frames per second of a video that consists of key frames

# action ids of the rows, and a function from people to their scores (N, len(actions))
CsvFile = tuple[list[int], Callable[[People], np.ndarray]]


class KeyFrameRunner(ABC):
    """Iterates over videos and the key frames of each, with boxes of people.

    Attributes:
        run: writes the results.
        source: of key frames and person boxes.
        people: the results so far, by video name.
    """

    def __init__(self, run: Run, source: BoxFile | PersonFinder) -> None:
        self.run = run
        self.source = source
        self.people: dict[str, list[People]] = {}

    @abstractmethod
    def predict_video(self, path: Path, video: OpenVideo) -> list[str]:
        """Fill ``people`` from an open video, and draw; return faults in parts of it."""

    def csv_files(self) -> dict[str, CsvFile]:
        """Return the csv files to write, by name: the boxes, if they were detected here."""
        # the action id -1 means no action
        boxes: CsvFile = [-1], lambda people: people.box_scores[:, None]
        return {PROPOSALS: boxes} if isinstance(self.source, PersonFinder) else {}

    def predict_videos(self, paths: Sequence[Path]) -> None:
        """Run over each video; write the csv files of all results even after an exception.

        Raises:
            UserError: two videos have the same name, which csv files identify them by.
        """
        names = Counter(map(_csv_name, paths))
        duplicates = [name for name, count in names.items() if count > 1]
        if duplicates:
            raise UserError(
                f"Several videos have the name {shorten_list(duplicates)}, which identifies them "
                "in csv files: rename them, or give them one at a time."
            )
        try:
            self.run.for_each_video(paths, self.predict_video)
        finally:
            self._write_csv_files()

    def key_seconds(self, path: Path, video: OpenVideo) -> tuple[list[float], list[str]]:
        """Return the key frames of a video in seconds, and the faults of those outside it."""
        seconds, outside = split_seconds(video, self.source.seconds(_csv_name(path), video))
        faults = [describe_outside(video, outside)] if outside else []
        if outside and not seconds:
            faults[0] += "; is --start right, the second of the csv at which the video begins?"
        return seconds, faults

    def record(self, frame: Frame, result: Any, video: OpenVideo, index: int) -> None:
        """Record the result for the frame of this index, which was drawn as ``frame``."""
        second = round(float(video.times[index]), 6)
        self.run.results.record(frame, result, frame=index, seconds=second)

    def _write_csv_files(self) -> None:
        results, start = self.run.results, self.source.start
        by_video = [(video, people) for video, found in self.people.items() for people in found]
        by_video = [(video, people) for video, people in by_video if len(people.boxes)]
        for name, (actions, scores_of) in self.csv_files().items() if by_video else ():
            frames = [
                (video, round(people.second + start, 6), people.boxes, scores_of(people))
                for video, people in by_video
            ]
            write_detections(results.folder / name, detections_table(frames, actions))
            results.csv_files.append(name)


class ActionRunner(KeyFrameRunner):
    """Detects the actions of people at key frames."""

    def predict_video(self, path: Path, video: OpenVideo) -> list[str]:
        """See `KeyFrameRunner.predict_video`."""
        seconds, faults = self.key_seconds(path, video)
        found = self.people[_csv_name(path)] = []

        def record_all(frame: Frame) -> None:
            for people in found:
                self.record(frame, people, video, people.frame)

        results = self.run.predictor.people(
            video,
            seconds,
            lambda clip: self.source.boxes_at(_csv_name(path), clip),
            lambda second, error: faults.append(describe_skipped(second, error)),
        )
        for people in progress(results, len(seconds), "key frames"):
            found.append(people)
            if self.run.stop.requested:
                break
        if found:
            self._log(path, found)
            try:
                self.run.annotate(path, video, visible_people(found, video.times), record_all)
            except VideoError as error:
                faults.append(str(error))
        return faults

    def csv_files(self) -> dict[str, CsvFile]:
        """Add the scores of all named actions."""
        ids = [category["id"] for category in self.run.predictor.categories]
        actions: CsvFile = ids, lambda people: people.scores.numpy()[:, np.array(ids) - 1]
        return {DETECTIONS: actions, **super().csv_files()}

    def _log(self, path: Path, found: Sequence[People]) -> None:
        """Log the most frequent actions of a video; warn of boxes outside the model's view."""
        inference, categories = self.run.predictor.inference, self.run.predictor.categories
        counts = Counter(
            category["name"]
            for people in found
            for actions in inference.best(people, categories)
            for category, _ in actions
        )
        frequent = [f"{name} ({count})" for name, count in counts.most_common(LOGGED_ACTIONS)]
        logger.info(
            "%s: %d key frames, %d boxes; mostly: %s",
            *(printable(path), len(found), sum(len(people.boxes) for people in found)),
            ", ".join(frequent) or "nothing",
        )
        unseen = sum(map(inference.unseen, found))
        if unseen:
            logger.warning(
                "%s: %d boxes are outside the part of the frame that the model sees, so their "
                "scores mean nothing: add dataloader.test.mapper.transform.crop=full",
                *(printable(path), unseen),
            )


class ProposalRunner(KeyFrameRunner):
    """Detects people at key frames, as proposals for an action detector.

    The annotated video consists of the key frames only.
    """

    source: PersonFinder

    def predict_video(self, path: Path, video: OpenVideo) -> list[str]:
        """See `KeyFrameRunner.predict_video`."""
        seconds, faults = self.key_seconds(path, video)
        keys = [frame_at(video, second) for second in seconds]
        source = Source(path, KEY_FRAME_RATE)
        pictures = read_groups(
            video,
            [[key] for key in keys],
            lambda number, error: faults.append(describe_skipped(seconds[number], error)),
        )
        found = self.people[_csv_name(path)] = []
        for number, [picture] in progress(pictures, len(seconds), "key frames"):
            image = np.ascontiguousarray(picture[..., ::-1])
            frame = Frame(source, keys[number], image, len(found) / KEY_FRAME_RATE)
            instances = self.source.detect(frame.image)
            boxes, box_scores = boxes_as_fractions(instances)
            place = seconds[number], keys[number], picture.shape[:2]
            found.append(People(*place, boxes, torch.zeros(len(boxes), 0), box_scores))
            self.run.results.draw(frame, instances)
            self.record(frame, instances, video, keys[number])
            if self.run.stop.requested:
                break
        return faults


def describe_skipped(second: float, error: VideoError) -> str:
    """Describe a key frame that is skipped because it cannot be decoded."""
    return f"second {second:g} is skipped, {error}"


def visible_people(people: Sequence[People], times: np.ndarray) -> list[People | None]:
    """Choose whom to draw in each frame: people of the last key frame, unless it is long past.

    Args:
        people: of each key frame, in order.
        times: (N,) start times of the frames in seconds.

    Returns:
        N entries; None where nobody is drawn.
    """
    gaps = [later.second - earlier.second for earlier, later in zip(people, people[1:])]
    duration = max(MIN_VISIBLE, min(gaps, default=0.0)) - 1e-6
    visible: list[People | None] = [None] * len(times)
    ends = [later.frame for later in people[1:]] + [len(times)]
    for current, end in zip(people, ends):
        for frame in range(current.frame, end):
            if times[frame] < current.second + duration:
                visible[frame] = current
    return visible


def _csv_name(path: Path) -> str:
    """Return the name of a video in csv files: its file without the suffix, or its folder."""
    return path.name if path.is_dir() else path.stem
