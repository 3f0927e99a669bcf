"""An exponential moving average of the weights, which is evaluated in their place."""

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
    """Averages after every step of the optimizer; register it before the hooks that save.

    Checkpoints hold the average as Detectron2 keeps any hook's state, so a resumed run goes on with
    it. Where a checkpoint has none, and where a run begins, it starts from the present weights.

    Args:
        model: the weights to follow; not the wrapper for several processes, which all average alike.
        decay: weight of the old average at each step. Floating-point buffers are averaged as well,
            others copied.
        output_dir: where the averaged weights are written at the end, beside model_final.pth.

    ``model`` is a copy with the averaged weights.
    """

    # not model_*.pth, which --resume goes on from
    NAME = "averaged_final"

    def __init__(self, model: nn.Module, decay: float, output_dir: str):
        if not 0.0 <= decay < 1.0:
            raise UserError(f"train.ema.decay={decay} must be at least 0 and less than 1.")
        self._weights = model
        self._decay = decay
        self._average = AveragedModel(model, multi_avg_fn=_averaging(decay), use_buffers=True)
        self.model: nn.Module = self._average.module.requires_grad_(False)
        self._checkpointer = StrictCheckpointer(self.model, output_dir)

    def before_train(self) -> None:
        """Begin with the weights that were loaded meanwhile, unless an average was."""
        reach = 1 / (1 - self._decay)
        if self.trainer.max_iter < reach:
            logger.warning(
                "train.ema.decay=%g averages over about %d iterations, and this run has %d: lower it, "
                "or what is evaluated stays near the weights that it began with.",
                *(self._decay, reach, self.trainer.max_iter),
            )
        if self._average.n_averaged == 0:
            self._average.update_parameters(self._weights)

    def after_step(self) -> None:
        """Take in the new weights; the average of the last ones is also written out."""
        self._average.update_parameters(self._weights)
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._checkpointer.save(self.NAME, tag=False, iteration=self.trainer.iter)

    def state_dict(self) -> dict[str, Any]:
        """The average, and how many steps it is of."""
        return self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self._average.load_state_dict(state)


def _averaging(decay: float) -> Callable[..., None]:
    """torch's moving average, for lists of tensors of one type; whole numbers are copied."""
    average = get_ema_multi_avg_fn(decay)

    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], count: Any) -> None:
        if averaged[0].is_floating_point():
            average(averaged, current, count)
        else:
            torch._foreach_copy_(averaged, current)

    return update
