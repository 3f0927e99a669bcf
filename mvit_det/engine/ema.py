"""An exponential moving average of the weights, evaluated in place of the trained ones."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from detectron2.engine import HookBase
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.errors import UserError

logger = logging.getLogger(__name__)


class AveragedWeights(HookBase):
    """Average the weights after every optimizer step; register it before the hooks that save.

    Checkpoints hold the average, as Detectron2 keeps the state of any hook, so a resumed run
    continues it. A new run, or a checkpoint without an average, starts from the current weights.

    Args:
        model: the module to follow, without its DistributedDataParallel wrapper; each process
            computes the same average.
        decay: weight of the old average at each step, in [0, 1). Floating-point buffers are
            averaged as well; other buffers are copied.
        output_dir: the averaged weights are written here at the end, next to model_final.pth.

    Attributes:
        model: a copy of the module with the averaged weights.

    Raises:
        UserError: ``decay`` is out of range.
    """

    # not model_*.pth, which --resume continues from
    NAME = "averaged_final"

    def __init__(self, model: nn.Module, decay: float, output_dir: str):
        if not 0.0 <= decay < 1.0:
            raise UserError(f"train.ema.decay={decay} must be at least 0 and less than 1.")
        self._weights = model
        self._decay = decay
        self._average = AveragedModel(model, multi_avg_fn=_ema_update(decay), use_buffers=True)
        self.model: nn.Module = self._average.module.requires_grad_(False)
        self._checkpointer = StrictCheckpointer(self.model, output_dir)

    def before_train(self) -> None:
        """Start from the loaded weights if the checkpoint has no average."""
        span = 1 / (1 - self._decay)
        if self.trainer.max_iter < span:
            logger.warning(
                "train.ema.decay=%g averages over about %d iterations, and this run has %d: lower "
                "it, or the average stays near the weights that the run began with.",
                *(self._decay, span, self.trainer.max_iter),
            )
        if self._average.n_averaged == 0:
            self._average.update_parameters(self._weights)

    def after_step(self) -> None:
        """Update the average with the new weights; after the last step also write it to disk."""
        self._average.update_parameters(self._weights)
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._checkpointer.save(self.NAME, tag=False, iteration=self.trainer.iter)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged tensors and the number of averaged steps."""
        return self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._average.load_state_dict(state)


def _ema_update(decay: float) -> Callable[..., None]:
    """Build the update for lists of tensors of one type: floats are averaged, integers copied."""
    average = get_ema_multi_avg_fn(decay)

    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], count: Any) -> None:
        if averaged[0].is_floating_point():
            average(averaged, current, count)
        else:
            torch._foreach_copy_(averaged, current)

    return update
