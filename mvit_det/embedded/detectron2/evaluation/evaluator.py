"""The evaluation loop and the interface of evaluators."""

import datetime
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from detectron2.utils import comm
from detectron2.utils.logger import log_every_n_seconds

logger = logging.getLogger(__name__)


class DatasetEvaluator:
    """Collect the outputs of a model batch by batch, and compute metrics at the end."""

    def reset(self) -> None:
        """Discard all outputs; called before the first batch."""

    def process(self, inputs: Any, outputs: Any) -> None:
        """Add one batch: the inputs of the model and its outputs."""

    def evaluate(self) -> dict[str, Any] | None:
        """Return the metrics by task and name; only the main process has to return any."""


class DatasetEvaluators(DatasetEvaluator):
    """Combine several evaluators, whose tasks must differ."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator]):
        self._evaluators = list(evaluators)

    def reset(self) -> None:
        """Reset all evaluators."""
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        """Add one batch to all evaluators."""
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, Any]:
        """Return the metrics of all evaluators; AssertionError if two share a task."""
        merged: dict[str, Any] = {}
        for evaluator in self._evaluators:
            results = evaluator.evaluate() or {}
            shared = merged.keys() & results.keys()
            assert not shared, f"Two evaluators return results for {', '.join(sorted(shared))}."
            merged.update(results if comm.is_main_process() else {})
        return merged


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, and restore its former mode at the end."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def inference_on_dataset(model, data_loader, evaluator) -> dict[str, Any]:
    """Run a model in evaluation mode over a loader (with a length), and log its speed.

    ``evaluator`` gets every batch; None measures the speed alone. Returns its results, which may be
    empty in processes other than the main one.
    """
    if not isinstance(evaluator, DatasetEvaluator):
        evaluator = DatasetEvaluators(evaluator or [])
    batches, processes = len(data_loader), comm.get_world_size()
    logger.info(f"Evaluating {batches} batches in each of {processes} processes.")
    evaluator.reset()
    started = time.perf_counter()
    with inference_context(model), torch.no_grad():
        for done, inputs in enumerate(data_loader, start=1):
            evaluator.process(inputs, model(inputs))
            seconds = (time.perf_counter() - started) / done
            eta = datetime.timedelta(seconds=int(seconds * (batches - done)))
            text = f"Batch {done} of {batches}: {seconds:.4f} s per batch. ETA {eta}"
            log_every_n_seconds(logging.INFO, text, n=5)
    elapsed = datetime.timedelta(seconds=int(time.perf_counter() - started))
    logger.info(f"Evaluated {batches} batches in {elapsed}.")
    return evaluator.evaluate() or {}
