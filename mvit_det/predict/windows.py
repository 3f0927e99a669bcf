"""A classifier of clips goes over videos, each as a whole or window by window."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from mvit_det.data.decoding.reader import OpenVideo, VideoError
from mvit_det.engine.stop import StopRequest
from mvit_det.errors import UserError, printable
from mvit_det.predict.clips import parts, span_at, table
from mvit_det.predict.open_frames import annotate
from mvit_det.predict.predictor import Predictor
from mvit_det.predict.progress import progress
from mvit_det.predict.writers import Results
from mvit_det.tasks.video import Span

logger = logging.getLogger(__name__)


def see_videos(
    predictor: Predictor,
    paths: Sequence[Path],
    window: float | None,
    results: Results,
    report: Callable[[Path, str], None],
    stop: StopRequest,
) -> None:
    """Each video as a whole, or window by window."""
    for path in paths:
        if stop.requested:
            return
        try:
            with predictor.open(path) as video:
                see_video(predictor, path, video, window, results, stop)
        except (VideoError, UserError) as error:
            report(path, str(error))


def see_video(
    predictor: Predictor,
    path: Path,
    video: OpenVideo,
    window: float | None,
    results: Results,
    stop: StopRequest,
) -> None:
    """Classify an opened video, then annotate it; what is known when that fails or ends is kept."""
    spans: list[Span] = []
    fault = None
    total = len(parts(video.times, video.end, window))
    try:
        for span in progress(predictor.spans(video, window), total, "windows"):
            spans.append(span)
            if stop.requested:
                break
    except (VideoError, UserError) as error:
        if not spans:
            raise
        fault = error
    logger.info("%s\n%s", printable(path), table(spans, predictor.categories))
    shown = [span_at(spans, index).scores for index in range(spans[-1].frames.stop)]
    known = dict(frames=len(video), seconds=round(spans[-1].end, 6))
    annotate(video, path, results, stop, shown, lambda frame: results.note(frame, spans, **known))
    if fault is not None:
        raise fault
    if video.fault and not stop.requested:
        raise VideoError(video.fault)
