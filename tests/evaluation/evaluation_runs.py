"""Run an evaluator on batches, as on one process or on two."""

import pickle

import pytest
from detectron2.utils import comm


def evaluate(evaluator, batches):
    """Evaluate (inputs, outputs) pairs from the start."""
    evaluator.reset()
    for inputs, outputs in batches:
        evaluator.process(inputs, outputs)
    return evaluator.evaluate()


def evaluate_on_two(new_evaluator, first, second):
    """Evaluate the batches of two processes, one after the other; return the results by rank."""
    parts, results = [], []

    def gather(data, dst):
        parts.insert(0, pickle.loads(pickle.dumps(data)))
        return parts if comm.is_main_process() else []

    for rank, batches in ((1, second), (0, first)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(comm, "gather", gather)
            patch.setattr(comm, "is_main_process", lambda rank=rank: rank == 0)
            results.insert(0, evaluate(new_evaluator(), batches))
    return results
