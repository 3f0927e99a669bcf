"""Run a video classifier over videos, whole or window by window."""

import logging
from collections.abc import Sequence
from pathlib import Path

from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.errors import UserError, printable
from mvit_det.predict.run import Run
from mvit_det.predict.spans import format_spans, span_at, split_windows
from mvit_det.progress import progress
from mvit_det.tasks.video import Span

logger = logging.getLogger(__name__)


def predict_windows(run: Run, paths: Sequence[Path], window: float | None) -> None:
    """Classify, annotate and write each video; ``window`` is in seconds, None for whole videos."""
    run.for_each_video(paths, lambda path, video: _predict_video(run, path, video, window))


def _predict_video(run: Run, path: Path, video: OpenVideo, window: float | None) -> list[str]:
    """Classify a video, then annotate it; return its faults.

    Results up to an error or an interruption are kept.
    """
    spans: list[Span] = []
    faults = []
    total = len(split_windows(video.times, video.end, window))
    try:
        for span in progress(run.predictor.spans(video, window), total, "windows"):
            spans.append(span)
            if run.stop.requested:
                break
    except (VideoError, UserError) as error:
        if not spans:
            raise
        faults.append(str(error))
    logger.info("%s\n%s", printable(path), format_spans(spans, run.predictor.categories))
    by_frame = [span_at(spans, index).scores for index in range(spans[-1].frames.stop)]
    duration = dict(frames=len(video), seconds=round(spans[-1].end, 6))
    run.annotate(path, video, by_frame, lambda frame: run.results.record(frame, spans, **duration))
    return faults
