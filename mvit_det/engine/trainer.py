"""Detectron2's trainers, with an explanation when the loss is no number any more."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from detectron2.engine import AMPTrainer, SimpleTrainer

from mvit_det.errors import UserError


class WatchedLoader:
    """Passes batches on and remembers what was in the last one, for error messages."""

    def __init__(self, loader: Iterable):
        self.loader = loader
        self.last_batch: Any = None

    def __iter__(self) -> Iterator:
        for self.last_batch in self.loader:
            yield self.last_batch

    def describe(self) -> str:
        """Name the images of the last batch."""
        if not isinstance(self.last_batch, list):
            return "a batch of tensors"
        return ", ".join(str(item.get("file_name", "?")) for item in self.last_batch)


class _Explains:
    """Mixed into a trainer: non-finite losses end in a sentence with term, iteration and images."""

    def _write_metrics(self, loss_dict: dict[str, torch.Tensor], *args, **kwargs) -> None:
        values = {name: float(value.detach()) for name, value in loss_dict.items()}
        # NaN is the one number that differs from itself; x - x is NaN for infinities as well
        bad = [name for name, value in values.items() if value - value != 0.0]
        if bad:
            raise UserError(self._explain(", ".join(f"{name}={values[name]}" for name in bad)))
        super()._write_metrics(loss_dict, *args, **kwargs)

    def run_step(self) -> None:
        """One iteration; divergence noticed inside the model is explained in the same way."""
        try:
            super().run_step()
        except FloatingPointError as error:
            raise UserError(self._explain(str(error).split("\n")[0])) from error

    def _explain(self, terms: str) -> str:
        rates = sorted({group["lr"] for group in self.optimizer.param_groups})
        return (
            f"Training has diverged at iteration {self.iter}: {terms}, on the images "
            f"{self.data_loader.describe()}; lower optimizer.lr (the rate is {rates[-1]:.3g} now) or "
            "lengthen the warm-up, and go on from the last checkpoint with --resume."
        )


class Trainer(_Explains, SimpleTrainer):
    """Full precision."""


class MixedPrecisionTrainer(_Explains, AMPTrainer):
    """float16 where it is safe, with loss scaling; CUDA only."""
