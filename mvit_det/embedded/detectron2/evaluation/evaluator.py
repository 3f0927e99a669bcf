"""The loop that evaluates a model, and the interface of what it feeds."""

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
    """Collects a model's outputs batch by batch and turns them into metrics at the end."""

    def reset(self) -> None:
        """Forget everything; called before the first batch."""

    def process(self, inputs: Any, outputs: Any) -> None:
        """Take one batch: what went into the model, and what came out."""

    def evaluate(self) -> dict[str, Any] | None:
        """Compute the metrics: by task, then by name. Only the main process has to return any."""


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators as one; their tasks must differ."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator]):
        self._evaluators = list(evaluators)

    def reset(self) -> None:
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for evaluator in self._evaluators:
            results = evaluator.evaluate() or {}
            shared = merged.keys() & results.keys()
            assert not shared, f"Two evaluators give results for {', '.join(sorted(shared))}."
            merged.update(results if comm.is_main_process() else {})
        return merged


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, and back into its former mode at the end."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def inference_on_dataset(model, data_loader, evaluator) -> dict[str, Any]:
    """Run a model in evaluation mode over a loader (with a length), and time it.

    ``evaluator`` sees every batch; None measures the speed alone. The results are empty where
    there are none, as in processes of rank 1 and up.
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
