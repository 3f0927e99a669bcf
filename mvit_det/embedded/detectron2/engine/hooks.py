"""The hooks of a usual run: times, schedule, checkpoints, evaluation, reports."""

import logging
import math
import operator
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import torch
from fvcore.common.checkpoint import Checkpointer
from fvcore.common.checkpoint import PeriodicCheckpointer as _PeriodicCheckpointer
from fvcore.common.param_scheduler import ParamScheduler
from fvcore.common.timer import Timer

from detectron2.engine.train_loop import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.solver import LRMultiplier
from detectron2.utils import comm
from detectron2.utils.events import EventWriter

__all__ = [
    "IterationTimer",
    "LRScheduler",
    "PeriodicWriter",
    "PeriodicCheckpointer",
    "BestCheckpointer",
    "EvalHook",
]


class IterationTimer(HookBase):
    """Record "time", the seconds of each iteration without hooks; log the overall speed.

    It has to be the first hook: what later ones take counts as their time.

    Args:
        warmup_iter: leave out the first iterations, which are slow for many reasons.
    """

    def __init__(self, warmup_iter: int = 3):
        self._warmup_iter = warmup_iter
        self._step, self._steps, self._all = Timer(), Timer(), Timer()

    def before_train(self) -> None:
        self._all.reset()
        self._steps.reset()
        self._steps.pause()

    def before_step(self) -> None:
        self._step.reset()
        self._steps.resume()

    def after_step(self) -> None:
        done = self.trainer.iter - self.trainer.start_iter + 1
        if done >= self._warmup_iter:
            self.trainer.storage.put_scalar("time", self._step.seconds())
            self._steps.pause()
        else:
            self.before_train()

    def after_train(self) -> None:
        timed = self.trainer.iter - self.trainer.start_iter + 1 - self._warmup_iter
        inside, total = self._steps.seconds(), self._all.seconds()
        shown, in_hooks = (timedelta(seconds=int(s)) for s in (total, total - inside))
        logger = logging.getLogger(__name__)
        if timed > 0:
            logger.info(f"{timed} iterations took {inside / timed:.4f} s each.")
        logger.info(f"Training took {shown}, of which {in_hooks} went to hooks.")


class LRScheduler(HookBase):
    """Record "lr" and step a schedule after each iteration.

    Args:
        optimizer: the trainer's by default.
        scheduler: a torch schedule, or a fvcore ParamScheduler of multipliers; by default the
            trainer's attribute of that name.
    """

    def __init__(self, optimizer: torch.optim.Optimizer | None = None, scheduler: Any = None):
        self._optimizer, self._scheduler = optimizer, scheduler

    def before_train(self) -> None:
        self._optimizer = self._optimizer or self.trainer.optimizer
        if isinstance(self.scheduler, ParamScheduler):
            self._scheduler = LRMultiplier(
                self._optimizer, self.scheduler, self.trainer.max_iter, self.trainer.iter - 1
            )
        self._shown_group = self.get_best_param_group_id(self._optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: torch.optim.Optimizer) -> int:
        """The group whose rate stands for all: the largest, or, if each parameter is a group of
        its own, the first with the most common rate."""
        groups = optimizer.param_groups
        sizes = [len(group["params"]) for group in groups]
        if max(sizes) > 1:
            return sizes.index(max(sizes))
        rates = [group["lr"] for group in groups]
        return rates.index(Counter(rates).most_common(1)[0][0])

    def after_step(self) -> None:
        lr = self._optimizer.param_groups[self._shown_group]["lr"]
        self.trainer.storage.put_scalar("lr", lr, smoothing_hint=False)
        self.scheduler.step()

    @property
    def scheduler(self) -> Any:
        """The schedule that was given, or the trainer's."""
        return self._scheduler or self.trainer.scheduler

    def state_dict(self) -> dict[str, Any]:
        stepped = isinstance(self.scheduler, torch.optim.lr_scheduler.LRScheduler)
        return self.scheduler.state_dict() if stepped else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if isinstance(self.scheduler, torch.optim.lr_scheduler.LRScheduler):
            self.scheduler.load_state_dict(state_dict)


class PeriodicWriter(HookBase):
    """Let writers write each ``period`` iterations, at the last one, and once more at the end.

    Put it after the hooks that record something.
    """

    def __init__(self, writers: list[EventWriter], period: int = 20):
        self._writers, self._period = writers, period

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        for writer in self._writers:
            writer.write()  # what other hooks' after_train recorded
            writer.close()


class PeriodicCheckpointer(_PeriodicCheckpointer, HookBase):
    """fvcore's PeriodicCheckpointer as a hook: model_0004999.pth, ..., model_final.pth."""

    def before_train(self) -> None:
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        self.step(self.trainer.iter)


class _AtEvaluation(HookBase):
    """Does something each so many iterations, and at the end of training instead of at the last."""

    def __init__(self, period: int):
        self._period = period

    def _act(self) -> None:
        raise NotImplementedError

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._act()

    def after_train(self) -> None:
        if self.trainer.iter + 1 >= self.trainer.max_iter:  # not where training failed
            self._act()


class BestCheckpointer(_AtEvaluation):
    """Save a checkpoint when an evaluation metric is better than ever; after EvalHook.

    Args:
        eval_period: EvalHook's.
        val_metric: name of the metric, as in "bbox/AP50".
        mode: "max" or "min": which is better.
        file_prefix: the file's name without ".pth".
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: Checkpointer,
        val_metric: str,
        mode: Literal["max", "min"] = "max",
        file_prefix: str = "model_best",
    ) -> None:
        super().__init__(eval_period)
        if mode not in ("max", "min"):
            raise ValueError(f"BestCheckpointer: mode={mode!r} must be 'max' or 'min'.")
        self._better = operator.gt if mode == "max" else operator.lt
        self._checkpointer, self._metric, self._name = checkpointer, val_metric, file_prefix
        self._best: float | None = None

    def _act(self) -> None:
        logger = logging.getLogger(__name__)
        if self._metric not in self.trainer.storage.latest():
            logger.warning(f"No best checkpoint: evaluation gave no metric {self._metric!r}.")
            return
        value, iteration = self.trainer.storage.latest()[self._metric]
        if math.isfinite(value) and (self._best is None or self._better(value, self._best)):
            self._best = value
            logger.info(f"{self._metric} = {value:.5f} is the best so far: saving {self._name}.")
            self._checkpointer.save(self._name, iteration=iteration)


class EvalHook(_AtEvaluation):
    """Evaluate each so many iterations and at the end, and record the results.

    Args:
        eval_period: 0 for only at the end.
        eval_function: takes nothing, and returns a nested dict of numbers, recorded as "bbox/AP",
            or None.
        eval_after_train: evaluate at the end too.
    """

    def __init__(
        self, eval_period: int, eval_function: Callable[[], Any], eval_after_train: bool = True
    ):
        super().__init__(eval_period)
        self._evaluate, self._at_end = eval_function, eval_after_train

    def _act(self) -> None:
        for name, value in flatten_results_dict(self._evaluate() or {}).items():
            try:
                number = float(value)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"Evaluation gave {name}={value!r}, which is no number."
                ) from error
            self.trainer.storage.put_scalar(name, number, smoothing_hint=False)
        # Processes that had nothing to evaluate must not run ahead into training.
        comm.synchronize()

    def after_train(self) -> None:
        if self._at_end:
            super().after_train()
