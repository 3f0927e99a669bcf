"""Run a model of images over each picture and each frame of each video."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from mvit_det.errors import UserError
from mvit_det.predict.run import Run
from mvit_det.predict.sources import Frame, Picture, Video, iterate_frames
from mvit_det.progress import progress


def predict_frames(run: Run, sources: Sequence[Picture | Video]) -> None:
    """Predict and write each picture, and each frame of each video, in batches."""
    counts = [source.count for source in sources]
    total = sum(counts) if all(counts) else None
    frames = progress(iterate_frames(sources, run.add_fault), total, "images")
    while not run.stop.requested and (batch := list(islice(frames, run.predictor.batch_size))):
        for frame, result in zip(batch, _predict_batch(run, batch)):
            if result is not None:
                run.results.add(frame, result)


def _predict_batch(run: Run, batch: list[Frame]) -> list[Any | None]:
    """Return the result of each frame; None, with a fault, where the model cannot process it."""
    try:
        return run.predictor([frame.image for frame in batch])
    except UserError as error:
        if len(batch) == 1:
            run.add_fault(batch[0].source.path, str(error))
            return [None]
    return [result for frame in batch for result in _predict_batch(run, [frame])]
