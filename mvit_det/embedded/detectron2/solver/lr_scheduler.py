"""Learning-rate schedules as multipliers, given as ``ParamScheduler`` of fvcore."""

from typing import Any

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    LinearParamScheduler,
    ParamScheduler,
)
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class WarmupParamScheduler(CompositeParamScheduler):
    """Replace the beginning of ``scheduler`` by a linear warm-up; later steps do not move.

    It starts at ``warmup_factor`` times the first value of the schedule, and takes the fraction
    ``warmup_length`` (0..1) of the whole training.
    """

    def __init__(self, scheduler: ParamScheduler, warmup_factor: float, warmup_length: float):
        warmup = LinearParamScheduler(warmup_factor * scheduler(0.0), scheduler(warmup_length))
        lengths = [warmup_length, 1 - warmup_length]
        super().__init__([warmup, scheduler], lengths, interval_scaling=["rescaled", "fixed"])


class LRMultiplier(LRScheduler):
    """Set the rate of each group to its initial one times ``multiplier(iteration / max_iter)``.

    ``last_iter`` is the last finished iteration when training resumes; -1 for a new training.

    Raises:
        ValueError: the multiplier is not a ``ParamScheduler``.
    """

    def __init__(
        self, optimizer: Optimizer, multiplier: ParamScheduler, max_iter: int, last_iter: int = -1
    ):
        if not isinstance(multiplier, ParamScheduler):
            raise ValueError(f"LRMultiplier needs a fvcore ParamScheduler, not {multiplier!r}.")
        self._factor_at, self._max_iter = multiplier, max_iter
        super().__init__(optimizer, last_iter)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rate of every group at the current iteration."""
        factor = self._factor_at(self.last_epoch / self._max_iter)
        return [lr * factor for lr in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return what training changes; the schedule itself comes from the config."""
        return {key: getattr(self, key) for key in ("base_lrs", "last_epoch")}
