"""Detectron2's trainer with gradient accumulation and clipping; it explains a divergence."""

import math
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils.events import get_event_storage
from torch import nn
from torch.optim import Optimizer

from mvit_det.engine.frozen import batch_deadline
from mvit_det.errors import UserError, check_positive, shorten_list
from mvit_det.precision import autocast
from mvit_det.workers import needs_pickling

MAX_NAMES = 64  # images named in an error message
_END = object()


def sample_name(item: Any) -> str:
    """Name a sample by its file and, if there is one, the id that an annotation file gives it."""
    file, image_id = item.get("file_name", "?"), item.get("image_id")
    return file if image_id is None else f"{file} (image_id {image_id})"


class WatchedLoader:
    """Iterate over a loader and record file names since `forget`, for error messages.

    Args:
        loader: yields batches.
        seconds: for a batch, after which the workers of the loader count as frozen; 0: no limit.
    """

    def __init__(self, loader: Iterable, seconds: float = 0.0):
        self.loader = loader
        self.seconds = seconds
        self.names: list[str] = []

    def __iter__(self) -> Generator[Any, None, None]:
        with needs_pickling():
            batches = iter(self.loader)
        limit = self.seconds if getattr(self.loader, "num_workers", 0) else 0.0
        while True:
            with batch_deadline(limit), needs_pickling():
                batch = next(batches, _END)
            if batch is _END:
                return
            # detection has lists of dicts, recognition dicts of lists
            if isinstance(batch, dict):
                self.names += batch.get("file_name", [])
            elif isinstance(batch, list):
                self.names += map(sample_name, batch)
            yield batch

    def forget(self) -> None:
        """Drop the recorded names, when a new iteration begins."""
        self.names.clear()

    def describe(self) -> str:
        """Name the images of the current iteration, at most `MAX_NAMES`."""
        images = f"the images {shorten_list(self.names, MAX_NAMES)}"
        return images if self.names else "a batch of tensors"


class Trainer(SimpleTrainer):
    """Run iterations: ``accumulation`` batches forward and backward, then one optimizer step.

    Args:
        model: returns a dict of scalar losses, or one scalar loss, for a batch.
        data_loader: yields batches without end.
        optimizer: over the parameters of the model.
        accumulation: batches per iteration; gradients and losses are means over them.
        precision: autocast to this dtype on the model's device, with loss scaling for float16; None
            for float32.
        max_norm: gradients are scaled down to this global L2 norm if theirs is larger; None for
            no limit.

    Raises:
        UserError: ``max_norm`` is not positive.
    """

    data_loader: WatchedLoader

    def __init__(
        self,
        model: nn.Module,
        data_loader: WatchedLoader,
        optimizer: Optimizer,
        *,
        accumulation: int = 1,
        precision: torch.dtype | None = None,
        max_norm: float | None = None,
    ):
        super().__init__(model, data_loader, optimizer)
        if max_norm is not None:
            check_positive("train (or null: no limit)", clip_gradients=max_norm)
        self.accumulation = accumulation
        self.precision = precision
        self._device_type = next(model.parameters()).device.type
        self.max_norm = max_norm
        self.grad_scaler = torch.amp.GradScaler("cuda", enabled=precision is torch.float16)
        self._batches: Generator[Any, None, None] | None = None

    def run_step(self) -> None:
        """Run one iteration.

        Raises:
            UserError: a loss or gradient is not finite; the weights are not changed.
        """
        self.optimizer.zero_grad()
        self.data_loader.forget()
        losses: Any = Counter()  # sums tensors, which its type does not know
        no_sync: Any = getattr(self.model, "no_sync", nullcontext)
        data_time = 0.0
        for part in range(self.accumulation):
            started = time.perf_counter()
            batch = self._next_batch()
            data_time += time.perf_counter() - started
            # Processes exchange gradients once per iteration.
            with no_sync() if part < self.accumulation - 1 else nullcontext():
                losses.update(self._forward_backward(batch))
        self.after_backward()
        self.grad_scaler.unscale_(self.optimizer)
        norm = self._gradient_norm()
        means = {name: value / self.accumulation for name, value in losses.items()}
        self._check(means, norm)
        self.write_metrics(means, data_time, self.iter)
        if self.max_norm is not None:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self.max_norm, norm)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _next_batch(self) -> Any:
        if self._batches is None:  # created late, since it starts the loader's workers
            self._batches = iter(self.data_loader)
        return next(self._batches)

    def close(self) -> None:
        """End the loader's workers now; the garbage collector may take seconds to do so."""
        if self._batches is not None:
            self._batches.close()

    def _forward_backward(self, batch: Any) -> dict[str, torch.Tensor]:
        with autocast(self.precision, self._device_type):
            try:
                output = self.model(batch)
            except FloatingPointError as error:  # detected inside the model
                raise UserError(self._divergence(str(error).split("\n")[0])) from error
            losses = output if isinstance(output, dict) else {"total_loss": output}
            total = sum(losses.values()) / self.accumulation
        self.grad_scaler.scale(total).backward()
        return {name: value.detach() for name, value in losses.items()}

    def _gradient_norm(self) -> torch.Tensor:
        """Compute the global L2 norm of all gradients: a scalar on their device."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return nn.utils.get_total_norm(gradients)

    def _check(self, losses: dict[str, torch.Tensor], norm: torch.Tensor) -> None:
        """Raise an error if a loss or ``norm`` is not finite; else record ``grad_norm``."""
        # The only place where an iteration waits for the GPU: one transfer for all values.
        *values, total_norm = torch.stack([v.float() for v in (*losses.values(), norm)]).tolist()
        terms = [f"{name}={value:.4g}" for name, value in zip(losses, values)]
        bad = [term for term, value in zip(terms, values) if not math.isfinite(value)]
        if bad:
            raise UserError(self._divergence(", ".join(bad)))
        if math.isfinite(total_norm):
            get_event_storage().put_scalar("grad_norm", total_norm, cur_iter=self.iter)
        elif not self.grad_scaler.is_enabled():
            # The scaler, if enabled, skips a step that overflows, and lowers its scale.
            raise UserError(self._divergence(f"a gradient is not finite ({', '.join(terms)})"))

    def _divergence(self, what: str) -> str:
        rates = sorted({group["lr"] for group in self.optimizer.param_groups})
        return (
            f"Training has diverged at iteration {self.iter}: {what}, on "
            f"{self.data_loader.describe()}; lower optimizer.lr (the rate is {rates[-1]:.3g} now) "
            "or lengthen the warm-up, and continue from the last checkpoint with --resume."
        )

    def state_dict(self) -> dict[str, Any]:
        """Return Detectron2's state, with the gradient scaler's as in its AMPTrainer."""
        state = super().state_dict()
        if self.grad_scaler.is_enabled():
            state["grad_scaler"] = self.grad_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; a state without a gradient scaler fits as well.

        Raises:
            UserError: the optimizer has other parameter groups than the saved one.
        """
        try:
            super().load_state_dict(state_dict)
        except ValueError as error:
            raise UserError(
                f"The state of the optimizer does not fit ({error}): resume with the "
                "optimizer.params that the run began with, or start another run from its weights "
                "with train.init_checkpoint and another train.output_dir."
            ) from error
        if self.grad_scaler.is_enabled() and state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
