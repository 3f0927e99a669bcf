"""A model of pictures goes over each picture, and each frame of each video."""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mvit_det.engine.stop import StopRequest
from mvit_det.errors import UserError
from mvit_det.predict.predictor import Predictor
from mvit_det.predict.progress import progress
from mvit_det.predict.sources import Frame, Picture, Video, stream
from mvit_det.predict.writers import Results


def see_frames(
    predictor: Predictor,
    sources: Sequence[Picture | Video],
    results: Results,
    report: Callable[[Path, str], None],
    stop: StopRequest,
) -> None:
    """Each picture, and each frame of each video."""
    counts = [source.count for source in sources]
    total = sum(counts) if all(counts) else None
    frames = progress(stream(sources, report), total, "images")
    while not stop.requested and (batch := list(islice(frames, predictor.batch_size))):
        for frame, result in zip(batch, predict(predictor, batch, report)):
            if result is not None:
                results.add(frame, result)


def predict(
    predictor: Predictor, batch: list[Frame], report: Callable[[Path, str], None]
) -> list[Any | None]:
    """The result of each frame; None, and a report, where the model cannot take it."""
    try:
        return predictor([frame.image for frame in batch])
    except UserError as error:
        if len(batch) == 1:
            report(batch[0].source.path, str(error))
            return [None]
    return [result for frame in batch for result in predict(predictor, [frame], report)]
