"""A detector of people goes over the key frames of videos."""

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch

from mvit_det.data.decoding.reader import OpenVideo, open_video
from mvit_det.predict.key_frames import (
    PROPOSALS,
    CsvFile,
    KeyFrameRunner,
    left_out,
    place,
    proposals,
)
from mvit_det.predict.open_frames import Shown, gathered, shown_at
from mvit_det.predict.person_boxes import as_shares
from mvit_det.predict.progress import progress
from mvit_det.predict.sources import Frame
from mvit_det.tasks.actions import People

SLIDES = 1.0  # frames per second of a video of key frames


class ProposalRunner(KeyFrameRunner):
    """A detector finds people, for an action detector that may not be there yet.

    The annotated video has the key frames alone.
    """

    def open(self, path: Path) -> AbstractContextManager[OpenVideo]:
        """See `KeyFrameRunner.open`."""
        return open_video(path)

    def see_video(self, path: Path, video: OpenVideo, name: str) -> list[str]:
        """See `KeyFrameRunner.see_video`."""
        seconds, faults = self.seconds(video, name)
        keys = [shown_at(video, second) for second in seconds]
        source = Shown(path, SLIDES)
        pictures = gathered(
            video,
            [[key] for key in keys],
            lambda number, error: faults.append(left_out(seconds[number], error)),
        )
        for number, [picture] in progress(pictures, len(seconds), "key frames"):
            frame = Frame(source, keys[number], np.ascontiguousarray(picture[..., ::-1]))
            found = self.source.found(frame.image)
            boxes, sure = as_shares(found)
            people = People(
                *(seconds[number], keys[number], picture.shape[:2], boxes),
                scores=torch.zeros(len(boxes), 0),
                box_scores=sure,
            )
            self.seen.setdefault(name, []).append(people)
            self.results.show(frame, found)
            self.results.note(frame, found, **place(video, keys[number]))
            if self.stop.requested:
                break
        return faults

    def csv_files(self) -> dict[str, CsvFile]:
        """The boxes."""
        return {PROPOSALS: proposals()}
