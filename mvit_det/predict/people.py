"""An action detector goes over the key frames of videos."""

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.errors import printable
from mvit_det.predict.key_frames import (
    PROPOSALS,
    CsvFile,
    KeyFrameRunner,
    left_out,
    place,
    proposals,
)
from mvit_det.predict.open_frames import annotate
from mvit_det.predict.person_boxes import PersonFinder
from mvit_det.predict.progress import progress
from mvit_det.predict.sources import Frame
from mvit_det.tasks.actions import People

logger = logging.getLogger(__name__)

DETECTIONS = "detections.csv"
HELD = 1.0  # seconds for which boxes are shown at least, unless others come
TOLD = 5  # actions in a line of the log


class ActionRunner(KeyFrameRunner):
    """An action detector says what people do."""

    def open(self, path: Path) -> AbstractContextManager[OpenVideo]:
        """See `KeyFrameRunner.open`."""
        return self.predictor.open(path)

    def see_video(self, path: Path, video: OpenVideo, name: str) -> list[str]:
        """See `KeyFrameRunner.see_video`."""
        seconds, faults = self.seconds(video, name)
        people = self.seen[name] = []

        def note(frame: Frame) -> None:
            for one in people:
                self.results.note(frame, one, **place(video, one.frame))

        found = self.predictor.people(
            video,
            seconds,
            lambda clip: self.source.at(name, clip),
            lambda second, error: faults.append(left_out(second, error)),
        )
        for one in progress(found, len(seconds), "key frames"):
            people.append(one)
            if self.stop.requested:
                break
        if people:
            logger.info("%s: %s", printable(path), self._told(people))
            unseen = sum(map(self.predictor.inference.unseen, people))
            if unseen:
                logger.warning(
                    "%s: %d boxes are beside the part of the frame that the model is shown, and their "
                    "scores mean nothing: add dataloader.test.mapper.transform.crop=full",
                    *(printable(path), unseen),
                )
            shown = people_shown(people, video.times)
            try:
                annotate(video, path, self.results, self.stop, shown, note)
            except VideoError as error:
                faults.append(str(error))
        return faults

    def csv_files(self) -> dict[str, CsvFile]:
        """The scores of all named actions, and the boxes if they were found here."""
        ids = [category["id"] for category in self.predictor.categories]
        files: dict[str, CsvFile] = {
            DETECTIONS: (ids, lambda one: one.scores.numpy()[:, np.array(ids) - 1])
        }
        if isinstance(self.source, PersonFinder):
            files[PROPOSALS] = proposals()
        return files

    def _told(self, people: Sequence[People]) -> str:
        """The actions of a video that are seen most."""
        best = self.predictor.inference.best
        counts = Counter(
            category["name"]
            for one in people
            for actions in best(one, self.predictor.categories)
            for category, _ in actions
        )
        told = ", ".join(f"{name} ({count})" for name, count in counts.most_common(TOLD))
        boxes = sum(len(one.boxes) for one in people)
        return f"{len(people)} key frames, {boxes} boxes; mostly: {told or 'nothing'}"


def people_shown(people: Sequence[People], times: np.ndarray) -> list[People | None]:
    """Who is shown with each frame: those of the last key frame, unless that is long past.

    Args:
        people: in order.
        times: (N,) seconds of the frames.
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
