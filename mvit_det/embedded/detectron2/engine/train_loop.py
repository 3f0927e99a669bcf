"""The training loop, its hooks and its state."""

import logging
import math
import weakref
from collections.abc import Iterable
from functools import partialmethod
from statistics import fmean
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage


class HookBase:
    """Base class of hooks, actions before and after iterations; override what is needed."""

    trainer: "TrainerBase" = None  # type: ignore[assignment]  # set by register_hooks

    def before_train(self) -> None:
        """Act before the first iteration."""

    def after_train(self) -> None:
        """Act after the last iteration, or a failure (``trainer.iter < trainer.max_iter``)."""

    def before_step(self) -> None:
        """Act before each iteration."""

    def after_backward(self) -> None:
        """Act between the backward pass and the step of the optimiser."""

    def after_step(self) -> None:
        """Act after each iteration."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state for checkpoints; a hook with a state has a ``load_state_dict`` too."""
        return {}


class TrainerBase:
    """Run hooks and the iterations ``start_iter`` .. ``max_iter - 1``; ``iter`` is the current one.

    ``storage`` is the EventStorage of the run; None before training.
    """

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter = self.start_iter = self.max_iter = 0
        self.storage: EventStorage = None  # type: ignore[assignment]  # set by train

    def register_hooks(self, hooks: list[HookBase | None]) -> None:
        """Add hooks, which run in the order of registration; None is skipped."""
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
        """Run one iteration."""
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
        """Return the iteration, and the state of the hooks that have one, by class name."""
        states = ((type(hook).__qualname__, hook.state_dict()) for hook in self._hooks)
        hooks = {name: state for name, state in states if state}
        return {"iteration": self.iter, **({"hooks": hooks} if hooks else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned; training continues at ``iter + 1``."""
        self.iter = state_dict["iteration"]
        by_name: dict[str, Any] = {type(hook).__qualname__: hook for hook in reversed(self._hooks)}
        for name, state in state_dict.get("hooks", {}).items():
            if name in by_name:
                by_name[name].load_state_dict(state)
            else:
                logging.getLogger(__name__).warning(f"No hook {name} to restore in this run.")


class SimpleTrainer(TrainerBase):
    """Hold a model, an endless loader and an optimiser; subclasses implement ``run_step``."""

    def __init__(self, model: nn.Module, data_loader: Iterable, optimizer: Optimizer) -> None:
        super().__init__()
        self.model = model.train()
        self.data_loader, self.optimizer = data_loader, optimizer

    @staticmethod
    def write_metrics(loss_dict: dict[str, torch.Tensor], data_time: float, cur_iter: int) -> None:
        """Record scalar losses as means over processes, their sum, and ``data_time`` in seconds.

        Raises:
            FloatingPointError: the sum is not finite.
        """
        losses = {name: float(loss.detach()) for name, loss in loss_dict.items()}
        storage = get_event_storage()
        storage.put_scalar("rank_data_time", data_time, cur_iter=cur_iter)
        gathered = comm.gather((data_time, losses))
        if not gathered:
            return  # not the main process
        slowest = max(seconds for seconds, _ in gathered)
        storage.put_scalar("data_time", slowest, cur_iter=cur_iter)
        means = {name: fmean(process[name] for _, process in gathered) for name in losses}
        total = sum(means.values())
        if not math.isfinite(total):
            raise FloatingPointError(f"The loss is not finite at iteration {cur_iter}: {means}")
        storage.put_scalar("total_loss", total, cur_iter=cur_iter)
        if len(means) > 1:
            storage.put_scalars(cur_iter=cur_iter, **means)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of ``TrainerBase``, and the optimiser's."""
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])
