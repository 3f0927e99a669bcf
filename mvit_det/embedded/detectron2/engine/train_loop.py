"""The loop over iterations, and what one iteration does, in full or mixed precision."""

import logging
import math
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partialmethod
from statistics import fmean
from typing import Any

import torch
from torch import nn

from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage

__all__ = ["HookBase", "TrainerBase", "SimpleTrainer", "AMPTrainer"]


class HookBase:
    """Something to do around the iterations; override what is needed.

    Attributes:
        trainer: the trainer that the hook was registered with.
    """

    trainer: "TrainerBase" = None

    def before_train(self) -> None:
        """Before the first iteration."""

    def after_train(self) -> None:
        """After the last iteration, or a failure (then ``trainer.iter < trainer.max_iter``)."""

    def before_step(self) -> None:
        """Before each iteration."""

    def after_backward(self) -> None:
        """Gradients are there, the optimiser has not moved."""

    def after_step(self) -> None:
        """After each iteration."""

    def state_dict(self) -> dict[str, Any]:
        """What checkpoints keep of it; a hook that returns something has a ``load_state_dict``."""
        return {}


class TrainerBase:
    """Runs iterations and hooks.

    Attributes:
        iter: the current iteration, from 0.
        start_iter, max_iter: where this run began, and the first iteration that it leaves out.
        storage: the EventStorage of this run, there once training has begun.
    """

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter = self.start_iter = self.max_iter = 0
        self.storage: EventStorage | None = None

    def register_hooks(self, hooks: list[HookBase | None]) -> None:
        """Add hooks, which run in the order in which they were added; None is passed over."""
        for hook in filter(None, hooks):
            # Weak: a circle of references would keep the model's memory until a collection.
            hook.trainer = weakref.proxy(self)
            self._hooks.append(hook)

    def _run_hooks(self, moment: str) -> None:
        for hook in self._hooks:
            getattr(hook, moment)()

    before_train = partialmethod(_run_hooks, "before_train")
    after_train = partialmethod(_run_hooks, "after_train")
    before_step = partialmethod(_run_hooks, "before_step")
    after_backward = partialmethod(_run_hooks, "after_backward")  # run_step calls it
    after_step = partialmethod(_run_hooks, "after_step")

    def run_step(self) -> None:
        """One iteration."""
        raise NotImplementedError

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run the iterations ``start_iter`` .. ``max_iter - 1``."""
        logger = logging.getLogger(__name__)
        logger.info(f"Training runs from iteration {start_iter} to {max_iter}.")
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < max_iter:
                    self.storage.iter = self.iter
                    for part in (self.before_step, self.run_step, self.after_step):
                        part()
                    self.iter += 1
            except Exception:
                logger.exception(f"Training failed at iteration {self.iter}:")
                raise
            finally:
                self.storage.iter = self.iter
                self.after_train()

    def state_dict(self) -> dict[str, Any]:
        """The iteration, and the state of the hooks that have one, by class name."""
        states = ((type(hook).__qualname__, hook.state_dict()) for hook in self._hooks)
        kept = {name: state for name, state in states if state}
        return {"iteration": self.iter, **({"hooks": kept} if kept else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned; training goes on at ``iter + 1``."""
        self.iter = state_dict["iteration"]
        by_name = {type(hook).__qualname__: hook for hook in reversed(self._hooks)}
        for name, state in state_dict.get("hooks", {}).items():
            if name in by_name:
                by_name[name].load_state_dict(state)
            else:
                logging.getLogger(__name__).warning(
                    f"The checkpoint has a state for the hook {name}, which this run has not."
                )


class SimpleTrainer(TrainerBase):
    """One optimiser, one loss: the sum of the dict of losses that the model returns.

    Args:
        model: is set to training mode.
        data_loader: yields what the model takes; without an end.
        gather_metric_period: collect metrics from all processes only each so many iterations.
        zero_grad_before_forward: free the gradients' memory before the forward pass.
        async_write_metrics: let a thread wait for the loss values, not the training loop.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        async_write_metrics: bool = False,
    ):
        super().__init__()
        self.model = model.train()
        self.data_loader, self.optimizer = data_loader, optimizer
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self._batches: Iterator | None = None  # begun late, as it starts the loader's workers
        self._metrics_thread = ThreadPoolExecutor(1) if async_write_metrics else None
        self._written: Future | None = None

    # What mixed precision does differently.

    def _precision(self) -> AbstractContextManager:
        return nullcontext()

    def _backward(self, losses: torch.Tensor) -> None:
        losses.backward()

    def _optimizer_step(self) -> None:
        self.optimizer.step()

    def run_step(self) -> None:
        """Forward, backward, record the losses, move the parameters."""
        assert self.model.training, f"{type(self).__name__}: the model is in evaluation mode."
        started = time.perf_counter()
        self._batches = self._batches or iter(self.data_loader)
        data = next(self._batches)
        data_time = time.perf_counter() - started

        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        with self._precision():
            outputs = self.model(data)
            loss_dict = {"total_loss": outputs} if torch.is_tensor(outputs) else outputs
            losses = sum(loss_dict.values())
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        self._backward(losses)
        self.after_backward()
        # Before the optimiser: a loss that is not finite raises, and must not reach the weights.
        self._write_metrics(loss_dict, data_time)
        self._optimizer_step()

    def _write_metrics(self, loss_dict: dict[str, torch.Tensor], data_time: float) -> None:
        if (self.iter + 1) % self.gather_metric_period:
            return
        metrics = {name: loss.detach() for name, loss in loss_dict.items()}, data_time, self.iter
        if self._metrics_thread is None:
            return self.write_metrics(*metrics)
        if self._written is not None:
            self._written.result()  # raises here what the thread met with
        self._written = self._metrics_thread.submit(self.write_metrics, *metrics)

    def after_train(self) -> None:
        """Wait for the thread that writes metrics, then run the hooks."""
        if self._metrics_thread is not None:
            self._metrics_thread.shutdown(wait=True)
        super().after_train()

    @staticmethod
    def write_metrics(
        loss_dict: Mapping[str, torch.Tensor], data_time: float, cur_iter: int, prefix: str = ""
    ) -> None:
        """Put the losses' mean over processes, and their sum, into the event storage.

        Args:
            loss_dict: scalar losses by name.
            data_time: seconds of waiting for data; the slowest process counts.
            prefix: goes before "total_loss".

        Raises:
            FloatingPointError: the sum is infinite or not a number.
        """
        measured = {name: float(loss.detach()) for name, loss in loss_dict.items()}
        storage = get_event_storage()
        storage.put_scalar("rank_data_time", data_time, cur_iter=cur_iter)
        everyone = comm.gather((data_time, measured))
        if not everyone:
            return  # not the main process
        slowest = max(seconds for seconds, _ in everyone)
        storage.put_scalar("data_time", slowest, cur_iter=cur_iter)
        means = {name: fmean(losses[name] for _, losses in everyone) for name in measured}
        total = sum(means.values())
        if not math.isfinite(total):
            raise FloatingPointError(f"The loss is not finite at iteration {cur_iter}: {means}")
        storage.put_scalar(f"{prefix}total_loss", total, cur_iter=cur_iter)
        if len(means) > 1:
            storage.put_scalars(cur_iter=cur_iter, **means)

    def state_dict(self) -> dict[str, Any]:
        """TrainerBase's, and the optimiser's."""
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned, the optimiser's state too."""
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])


class AMPTrainer(SimpleTrainer):
    """Mixed precision on a GPU: autocast and a gradient scaler.

    Args:
        grad_scaler: a ``torch.amp.GradScaler``; a default one where None.
        precision: of autocast: torch.float16 or torch.bfloat16.
        log_grad_scaler: record the scale of each iteration.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        grad_scaler: torch.amp.GradScaler | None = None,
        precision: torch.dtype = torch.float16,
        log_grad_scaler: bool = False,
        async_write_metrics: bool = False,
    ):
        periods = (gather_metric_period, zero_grad_before_forward, async_write_metrics)
        super().__init__(model, data_loader, optimizer, *periods)
        self.grad_scaler = torch.amp.GradScaler("cuda") if grad_scaler is None else grad_scaler
        self.precision = precision
        self.log_grad_scaler = log_grad_scaler

    def _precision(self) -> AbstractContextManager:
        return torch.autocast("cuda", dtype=self.precision)

    def _backward(self, losses: torch.Tensor) -> None:
        self.grad_scaler.scale(losses).backward()

    def _optimizer_step(self) -> None:
        if self.log_grad_scaler:
            get_event_storage().put_scalar("[metric]grad_scaler", self.grad_scaler.get_scale())
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def run_step(self) -> None:
        """SimpleTrainer's iteration, under autocast."""
        assert torch.cuda.is_available(), "AMPTrainer needs a GPU: train with SimpleTrainer on CPU."
        super().run_step()

    def state_dict(self) -> dict[str, Any]:
        """SimpleTrainer's, and the gradient scaler's."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned; a full-precision run's state will do too."""
        super().load_state_dict(state_dict)
        if state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
