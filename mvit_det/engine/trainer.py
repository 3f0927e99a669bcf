"""Detectron2's trainer with gradient accumulation, and an explanation where training diverges."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from torch import nn
from torch.optim import Optimizer

from mvit_det.errors import UserError


class WatchedLoader:
    """Passes batches on and remembers those since `forget`, for error messages."""

    def __init__(self, loader: Iterable):
        self.loader = loader
        self._batches: list[Any] = []

    def __iter__(self) -> Iterator:
        for batch in self.loader:
            self._batches.append(batch)
            yield batch

    def forget(self) -> None:
        """A new iteration begins."""
        self._batches.clear()

    def describe(self) -> str:
        """Name the images of the iteration."""
        items = [item for batch in self._batches if isinstance(batch, list) for item in batch]
        names = ", ".join(str(item.get("file_name", "?")) for item in items)
        return f"the images {names}" if names else "a batch of tensors"


class Trainer(SimpleTrainer):
    """One iteration: ``accumulation`` batches forward and backward, then one step of the optimiser.

    Args:
        model, data_loader, optimizer: as in Detectron2.
        accumulation: batches per iteration; gradients and losses are means over them.
        precision: autocast to this type on the GPU, with loss scaling for float16; None for full
            precision.

    Raises:
        UserError: a loss or a gradient is no number; the weights are still those of before.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: WatchedLoader,
        optimizer: Optimizer,
        *,
        accumulation: int = 1,
        precision: torch.dtype | None = None,
    ):
        super().__init__(model, data_loader, optimizer)
        self.accumulation = accumulation
        self.precision = precision
        self.grad_scaler = torch.amp.GradScaler("cuda", enabled=precision is torch.float16)
        self._stream: Iterator | None = None

    def run_step(self) -> None:
        """One iteration."""
        self.optimizer.zero_grad()
        self.data_loader.forget()
        losses: Counter = Counter()
        waited = 0.0
        for part in range(self.accumulation):
            started = time.perf_counter()
            batch = self._next_batch()
            waited += time.perf_counter() - started
            # Processes exchange gradients once per iteration.
            last = part == self.accumulation - 1
            wait = (
                nullcontext()
                if last or not hasattr(self.model, "no_sync")
                else self.model.no_sync()
            )
            with wait:
                losses.update(self._forward_backward(batch))
        self.after_backward()
        self.grad_scaler.unscale_(self.optimizer)
        self._check_gradients(losses)
        means = {name: value / self.accumulation for name, value in losses.items()}
        self.write_metrics(means, waited, self.iter)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _next_batch(self) -> Any:
        if self._stream is None:  # begun late, as it starts the loader's workers
            self._stream = iter(self.data_loader)
        return next(self._stream)

    def close(self) -> None:
        """End the loader's workers now: left to the garbage collector it may take seconds."""
        if self._stream is not None:
            self._stream.close()

    def _forward_backward(self, batch: Any) -> dict[str, torch.Tensor]:
        precise = self.precision is None
        with nullcontext() if precise else torch.autocast("cuda", dtype=self.precision):
            try:
                output = self.model(batch)
            except FloatingPointError as error:  # noticed inside the model
                raise UserError(self._explain(str(error).split("\n")[0])) from error
            losses = output if isinstance(output, dict) else {"total_loss": output}
            total = sum(losses.values()) / self.accumulation
        self._check_losses(losses)
        self.grad_scaler.scale(total).backward()
        return {name: value.detach() for name, value in losses.items()}

    def _check_losses(self, losses: dict[str, torch.Tensor]) -> None:
        # one transfer from the GPU for all of them
        values = torch.stack([value.detach().float() for value in losses.values()]).tolist()
        bad = [f"{name}={value}" for name, value in zip(losses, values) if not math.isfinite(value)]
        if bad:
            raise UserError(self._explain(", ".join(bad)))

    def _check_gradients(self, losses: dict[str, torch.Tensor]) -> None:
        if self.grad_scaler.is_enabled():
            return  # it leaves out a step that overflows, and lowers its scale
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        if not torch.nn.utils.get_total_norm(gradients).isfinite():
            terms = ", ".join(f"{name}={float(value):.4g}" for name, value in losses.items())
            raise UserError(self._explain(f"a gradient is not finite ({terms})"))

    def _explain(self, what: str) -> str:
        rates = sorted({group["lr"] for group in self.optimizer.param_groups})
        return (
            f"Training has diverged at iteration {self.iter}: {what}, on "
            f"{self.data_loader.describe()}; lower optimizer.lr (the rate is {rates[-1]:.3g} now) or "
            "lengthen the warm-up, and go on from the last checkpoint with --resume."
        )

    def state_dict(self) -> dict[str, Any]:
        """Detectron2's, and the gradient scaler's as its AMPTrainer has it."""
        state = super().state_dict()
        if self.grad_scaler.is_enabled():
            state["grad_scaler"] = self.grad_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; a run in full precision will do too."""
        super().load_state_dict(state_dict)
        if self.grad_scaler.is_enabled() and state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
