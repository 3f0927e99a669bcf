"""Standard hooks: iteration times, learning-rate schedule, writers."""

import logging
from collections import Counter
from datetime import timedelta
from typing import Any

from fvcore.common.param_scheduler import ParamScheduler
from fvcore.common.timer import Timer
from torch.optim import Optimizer, lr_scheduler

from detectron2.engine.train_loop import HookBase
from detectron2.solver import LRMultiplier
from detectron2.utils.events import EventWriter


class IterationTimer(HookBase):
    """Record "time", the seconds of each iteration without later hooks; log the overall speed.

    The first ``warmup_iter`` iterations are not timed: start-up slows them down.
    """

    def __init__(self, warmup_iter: int = 3):
        self._warmup_iter = warmup_iter
        self._step, self._steps, self._all = Timer(), Timer(), Timer()

    def before_train(self) -> None:
        """Start the timers."""
        self._all.reset()
        self._steps.reset()
        self._steps.pause()

    def before_step(self) -> None:
        """Start the timer of an iteration."""
        self._step.reset()
        self._steps.resume()

    def after_step(self) -> None:
        """Record "time" after the warm-up."""
        done = self.trainer.iter - self.trainer.start_iter + 1
        if done >= self._warmup_iter:
            self.trainer.storage.put_scalar("time", self._step.seconds())
            self._steps.pause()
        else:
            self.before_train()

    def after_train(self) -> None:
        """Log the mean and the total time."""
        timed = self.trainer.iter - self.trainer.start_iter + 1 - self._warmup_iter
        inside, total = self._steps.seconds(), self._all.seconds()
        each = f"{timed} iterations took {inside / timed:.4f} s each. " if timed > 0 else ""
        took = f"Training took {timedelta(seconds=int(total))}, {total - inside:.0f} s in hooks."
        logging.getLogger(__name__).info(each + took)


class LRScheduler(HookBase):
    """Record "lr" and step a schedule after each iteration.

    ``scheduler`` is a torch schedule, or a fvcore ParamScheduler of multipliers; by default the
    trainer's attribute of that name.
    """

    def __init__(self, scheduler: Any = None):
        self.scheduler = scheduler

    def before_train(self) -> None:
        """Make the schedule and choose the parameter group to log."""
        trainer: Any = self.trainer  # with an optimizer, perhaps a scheduler
        self.scheduler = self.scheduler or trainer.scheduler
        if isinstance(self.scheduler, ParamScheduler):
            self.scheduler = LRMultiplier(
                trainer.optimizer, self.scheduler, trainer.max_iter, trainer.iter - 1
            )
        self._logged_group = self.get_best_param_group_id(trainer.optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: Optimizer) -> int:
        """Return the index of the parameter group whose learning rate is logged.

        It is the largest group or, if each group has one parameter, the first with the most
        common rate.
        """
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        if max(sizes) > 1:
            return sizes.index(max(sizes))
        rates = [group["lr"] for group in optimizer.param_groups]
        return rates.index(Counter(rates).most_common(1)[0][0])

    def after_step(self) -> None:
        """Record "lr" and step the schedule."""
        trainer: Any = self.trainer
        lr = trainer.optimizer.param_groups[self._logged_group]["lr"]
        trainer.storage.put_scalar("lr", lr, smoothing_hint=False)
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of a torch schedule."""
        has_state = isinstance(self.scheduler, lr_scheduler.LRScheduler)
        return self.scheduler.state_dict() if has_state else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a torch schedule."""
        if isinstance(self.scheduler, lr_scheduler.LRScheduler):
            self.scheduler.load_state_dict(state_dict)


class PeriodicWriter(HookBase):
    """Call writers every ``period`` iterations, at the last iteration, and after training.

    Register it after the hooks that record something.
    """

    def __init__(self, writers: list[EventWriter], period: int = 20):
        self._writers, self._period = writers, period

    def after_step(self) -> None:
        """Write at the end of a period and of training."""
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        """Write what other hooks recorded after training, and close the writers."""
        for writer in self._writers:
            writer.write()
            writer.close()
