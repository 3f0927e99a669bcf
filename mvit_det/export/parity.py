"""The proof of an export: its results next to those of the PyTorch model."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from mvit_det.errors import UserError
from mvit_det.exported.runtime import Run

TOLERANCE = 1e-4  # of float32, relative to the largest value


def measure(program: Any, run: Run, batches: Sequence[Any], inputs: Any) -> list[dict[str, Any]]:
    """Compare an exported model with the PyTorch model on batches of inputs.

    Args:
        program: a `Program`.
        run: the exported model.
        batches: inputs of the model of the task.
        inputs: those of the program.

    Returns:
        Per batch the shape of its first input, and the figures of ``program.compare``.
    """
    figures = []
    for batch in batches:
        tensors = [x.contiguous() for x in program.encode(batch, inputs)]
        with torch.no_grad():
            expected = program.reference(batch, inputs)
        found = run(tensors)
        shape = list(tensors[0].shape)
        nearby = partial(program.nearby, batch, inputs)
        with torch.no_grad():
            figures.append({"shape": shape, **program.compare(expected, found, nearby)})
    return figures


def check(figures: Sequence[dict[str, Any]], form: str) -> None:
    """Raise a `UserError` if float32 results differ from the model's."""
    for batch in figures:
        rest = {k: v for k, v in batch.items() if k not in ("shape", "objects")}
        missing, at_cut = rest.pop("missing", 0), rest.pop("at_a_cut", 0)
        # (nan is not within the tolerance either)
        if missing > at_cut or not all(value <= TOLERANCE for value in rest.values()):
            detail = ", ".join(f"{name} differ by {value:.1e}" for name, value in rest.items())
            raise UserError(
                f"The {form} model differs from the PyTorch model on an input of {batch['shape']}: "
                f"{detail}, {missing} objects are missing, {at_cut} of them at a cut (allowed: "
                f"{TOLERANCE:g}, and none): use another --format or version of its runtime."
            )


def summarise(figures: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the largest difference of each output, and the sums of the counts."""
    counts = ("objects", "missing", "at_a_cut")
    names = [name for name in figures[0] if name != "shape"]
    return {
        name: (sum if name in counts else max)(batch[name] for batch in figures) for name in names
    }
