"""Schedules as multipliers of each group's learning rate, by fvcore's ``ParamScheduler``."""

from typing import Any, Literal

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["WarmupParamScheduler", "LRMultiplier"]


class WarmupParamScheduler(CompositeParamScheduler):
    """Put a warm-up before a schedule.

    Args:
        scheduler: what to follow after the warm-up.
        warmup_factor: the first value, in units of the first value of ``scheduler``.
        warmup_length: share of the whole training, in 0..1.
        warmup_method: "linear" up to where ``scheduler`` takes over, or "constant".
        rescale_interval: squeeze all of ``scheduler`` into what the warm-up leaves; otherwise the
            warm-up replaces its beginning, and its steps stay where they are.
    """

    def __init__(
        self,
        scheduler: ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: Literal["linear", "constant"] = "linear",
        rescale_interval: bool = False,
    ):
        first = warmup_factor * scheduler(0.0)
        if warmup_method == "linear":
            last = scheduler(0.0 if rescale_interval else warmup_length)
            warmup: ParamScheduler = LinearParamScheduler(first, last)
        elif warmup_method == "constant":
            warmup = ConstantParamScheduler(first)
        else:
            raise ValueError(f"warmup_method={warmup_method!r}: use 'linear' or 'constant'.")
        super().__init__(
            [warmup, scheduler],
            lengths=[warmup_length, 1 - warmup_length],
            interval_scaling=["rescaled", "rescaled" if rescale_interval else "fixed"],
        )


class LRMultiplier(LRScheduler):
    """Learning rate = the group's own initial one times a multiplier that training time decides.

    Args:
        multiplier: maps the share of training that is done, in 0..1, to a factor.
        max_iter: the number of iterations that make up the whole training.
        last_iter: the iteration after which training goes on; -1 for a new one.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        multiplier: ParamScheduler,
        max_iter: int,
        last_iter: int = -1,
    ):
        if not isinstance(multiplier, ParamScheduler):
            raise ValueError(f"LRMultiplier needs a fvcore ParamScheduler, not {multiplier!r}.")
        self._factor_at, self._max_iter = multiplier, max_iter
        super().__init__(optimizer, last_iter)

    def get_lr(self) -> list[float]:
        """The learning rate of every group at the current iteration."""
        factor = self._factor_at(self.last_epoch / self._max_iter)
        return [lr * factor for lr in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Only what training decides: the schedule itself comes from the config at each start."""
        return {key: getattr(self, key) for key in ("base_lrs", "last_epoch")}
