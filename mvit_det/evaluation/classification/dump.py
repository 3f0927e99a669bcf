"""The scores of all samples as MMAction2's and MMPretrain's tests dump them, for their tools.

A pickled list has one dict per sample, with what the scripts in their ``tools/analysis_tools``
read: ``pred_score`` (K,) float32, ``pred_label`` (1,) and ``gt_label`` (1,) int64, all of them
tensors, and ``num_classes``; here also ``filename``.
"""

import pickle
from pathlib import Path

import numpy as np
import torch

from mvit_det.errors import UserError
from mvit_det.evaluation.classification.metrics import best_classes
from mvit_det.evaluation.writing import open_atomic

SUFFIXES = (".pkl", ".pickle")
_PROTOCOL = 4  # which every Python that MMAction2 runs on reads


def check_dump(path: str) -> None:
    """Raise a `UserError` if MMAction2's tools could not tell the format of a file by its name."""
    if not path.endswith(SUFFIXES):
        raise UserError(
            f"The file of scores {path} must end in {' or '.join(SUFFIXES)}: rename it."
        )


def write_dump(path: Path, file_name: np.ndarray, label: np.ndarray, scores: np.ndarray) -> None:
    """Write the scores of N samples, in their order.

    Args:
        path: of the file; its folder is created.
        file_name: (N,) str.
        label: (N,) indices of the true classes.
        scores: (N, K) float32.

    Raises:
        UserError: the file cannot be written.
    """
    best = best_classes(torch.from_numpy(scores), 1)[1].tolist()
    samples = [
        {
            "pred_score": torch.tensor(row),  # a copy: a view would be written with all rows
            "pred_label": torch.tensor(predicted),
            "gt_label": torch.tensor([true]),
            "num_classes": len(row),
            "filename": name,
        }
        for name, true, predicted, row in zip(file_name.tolist(), label.tolist(), best, scores)
    ]
    with open_atomic(path) as file:
        pickle.dump(samples, file, protocol=_PROTOCOL)
