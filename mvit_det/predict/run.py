"""State and steps shared by all kinds of prediction runs."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.engine.stop import StopRequest
from mvit_det.errors import UserError, printable, shorten_list
from mvit_det.predict.open_frames import read_frames
from mvit_det.predict.predictor import Predictor
from mvit_det.predict.sources import Frame, Source, valid_fps
from mvit_det.predict.writers import Results
from mvit_det.progress import progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run of the command line.

    Attributes:
        predictor: holds the model.
        results: writes the results.
        stop: checked between two steps.
        faults: reason why an input is faulty, by its path.
    """

    predictor: Predictor
    results: Results
    stop: StopRequest
    faults: dict[Path, str] = field(default_factory=dict)

    def add_fault(self, path: Path, reason: str) -> None:
        """Record and log why an input is faulty; only the first reason for a path counts."""
        if path not in self.faults:
            self.faults[path] = reason
            logger.warning("%s: %s", printable(path), reason)

    def for_each_video(
        self, paths: Sequence[Path], process: Callable[[Path, OpenVideo], list[str]]
    ) -> None:
        """Call ``process`` with each path and its open video; record the faults it returns."""
        for path in paths:
            if self.stop.requested:
                return
            try:
                with self.predictor.open(path) as video:
                    faults = process(path, video)
                    faults += [video.fault] if video.fault else []
            except (VideoError, UserError) as error:
                faults = [str(error)]
            if faults:
                self.add_fault(path, shorten_list(faults, limit=3))

    def annotate(
        self, path: Path, video: OpenVideo, results: Sequence[Any], record: Callable[[Frame], None]
    ) -> None:
        """Write an open video with results drawn on its first frames.

        Args:
            path: path of the video.
            video: an open video.
            results: one per frame from the first on; None draws nothing.
            record: called at the end with the last frame written, even if a later one cannot be
                decoded, but not if none was written.

        Raises:
            VideoError: a frame cannot be decoded.
        """
        source, frame = Source(path, valid_fps(video.fps)), None
        images = progress(read_frames(video, len(results)), len(results), "frames")
        try:
            for index, image in enumerate(images):
                frame = Frame(source, index, image, video.times[index])
                self.results.draw(frame, results[index])
                if self.stop.requested:
                    break
        finally:
            if frame:
                record(frame)
