"""State and steps shared by all kinds of prediction runs."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.engine.stop import StopRequest
from mvit_det.errors import UserError, printable, shorten_list
from mvit_det.predict.open_frames import Shown, in_order
from mvit_det.predict.predictor import Predictor
from mvit_det.predict.progress import progress
from mvit_det.predict.sources import Frame, playable
from mvit_det.predict.writers import Results

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run of the command line.

    Attributes:
        predictor: holds the model.
        results: writes the results.
        stop: checked between two steps.
        faults: what is wrong with an input, by its path.
    """

    predictor: Predictor
    results: Results
    stop: StopRequest
    faults: dict[Path, str] = field(default_factory=dict)

    def report(self, path: Path, reason: str) -> None:
        """Log what is wrong with an input, once."""
        if path not in self.faults:
            self.faults[path] = reason
            logger.warning("%s: %s", printable(path), reason)

    def see_videos(
        self, paths: Sequence[Path], see: Callable[[Path, OpenVideo], list[str]]
    ) -> None:
        """Call ``see`` with each path and its open video; report the faults that it returns."""
        for path in paths:
            if self.stop.requested:
                return
            try:
                with self.predictor.open(path) as video:
                    faults = see(path, video)
                    faults += [video.fault] if video.fault else []
            except (VideoError, UserError) as error:
                faults = [str(error)]
            if faults:
                self.report(path, shorten_list(faults, limit=3))

    def annotate(
        self, path: Path, video: OpenVideo, shown: Sequence[Any], note: Callable[[Frame], None]
    ) -> None:
        """Write an open video with the results in ``shown`` drawn on its first frames.

        Args:
            path: of the video.
            video: an `OpenVideo`.
            shown: one result per frame, or None.
            note: called at the end with the last frame written, even if a later one cannot be
                decoded, but not if none was written.
        """
        source, frame = Shown(path, playable(video.fps)), None
        images = progress(in_order(video, len(shown)), len(shown), "frames")
        try:
            for index, image in enumerate(images):
                frame = Frame(source, index, image, video.times[index])
                self.results.show(frame, shown[index])
                if self.stop.requested:
                    break
        finally:
            if frame:
                note(frame)
