"""Hooks that Detectron2 lacks, or whose Detectron2 version loses state when a run resumes."""

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from mvit_det import randomness
from mvit_det.engine.checkpointer import StrictCheckpointer, checkpoint_fault
from mvit_det.engine.curves import draw_curves, read_curves
from mvit_det.engine.stop import StopRequest
from mvit_det.errors import UserError, check_number, shorten_list

logger = logging.getLogger(__name__)

# number of past values in the medians of the log
_WINDOW = 20


@dataclass(eq=False)
class Checkpoints(HookBase):
    """Save model_0004999.pth, ..., model_final.pth such that a run resumes exactly.

    Besides model and trainer, the files hold the random state of each process, the position in the
    data, and the last values of the losses, so that the smoothed log continues as well.

    Args:
        checkpointer: saves on the main process.
        loader: has ``state_dict`` and ``load_state_dict`` if it can be resumed.
        stop: ends the training after an iteration, with a checkpoint.
        period: iterations between checkpoints; 0 to save at the end only.
        max_to_keep: number of numbered files to keep, including those written before a resume;
            None or 0 to keep all.

    Attributes:
        resumed: set this to the result of `StrictCheckpointer.resume` before training.

    Raises:
        UserError: ``period`` or ``max_to_keep`` is negative or not a whole number.
    """

    checkpointer: StrictCheckpointer
    loader: Any
    stop: StopRequest
    period: int
    max_to_keep: int | None = None
    resumed: dict[str, Any] = field(default_factory=dict, init=False)
    _last_ended: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        numbers = {"period": self.period, "max_to_keep": self.max_to_keep or 0}
        valid = lambda n: isinstance(n, int) and n >= 0  # noqa: E731
        check_number("train.checkpointer", "a whole number, 0 or more", valid, **numbers)

    def before_train(self) -> None:
        """Restore loader, log history and random state; register before hooks that draw numbers."""
        if "loader" in self.resumed and hasattr(self.loader, "load_state_dict"):
            self.loader.load_state_dict(self.resumed["loader"])
        for name, (smooth, points) in self.resumed.get("history", {}).items():
            for value, iteration in points:
                self.trainer.storage.put_scalar(name, value, smooth, iteration)
        states = self.resumed.get("random", [])
        if len(states) == comm.get_world_size():
            randomness.set_state(states[comm.get_rank()])
        elif self.resumed:
            logger.warning(
                "The checkpoint holds the random states of %d processes and this run has %d: it "
                "continues with other random numbers than an uninterrupted run.",
                len(states),
                comm.get_world_size(),
            )

    def after_step(self) -> None:
        """Save when due, or when the run is asked to stop.

        Raises:
            Stopped: the run was asked to stop; its state is saved.
        """
        self._last_ended = self.trainer.iter
        done = self.trainer.iter + 1
        final = done >= self.trainer.max_iter
        stopping = self.stop.agreed() and not final
        if stopping or (self.period > 0 and done % self.period == 0):
            self.save(f"model_{self.trainer.iter:07d}")
        if final:
            self.save("model_final")
        if stopping:
            self.stop.end(f"after iteration {self.trainer.iter}, which is saved")

    def save_between_steps(self) -> None:
        """Save if an evaluation after an iteration is interrupted."""
        if self._last_ended == self.trainer.iter:
            self.save(f"model_{self._last_ended:07d}")

    def save(self, name: str) -> None:
        """Save the state after this iteration as ``name``.pth; all processes must call it."""
        states = comm.gather(randomness.get_state())
        if comm.is_main_process():
            contents: dict[str, Any] = {"random": states, "history": self._history()}
            if hasattr(self.loader, "state_dict"):
                contents["loader"] = self.loader.state_dict()
            self.checkpointer.save(name, iteration=self.trainer.iter, **contents)
            self._delete_old()
        comm.synchronize()  # no process ends or continues while the file is being written

    def _history(self) -> dict[str, Any]:
        storage, iteration = self.trainer.storage, self.trainer.iter
        smooth = storage.smoothing_hints()
        return {
            name: (smooth[name], [tuple(point) for point in history.values()[-_WINDOW:]])
            for name, history in storage.histories().items()
            if history.values()[-1][1] == iteration
        }

    def _delete_old(self) -> None:
        folder = Path(self.checkpointer.save_dir)
        numbered = [p for p in folder.glob("model_*.pth") if re.fullmatch(r"model_\d+", p.stem)]
        for path in sorted(numbered)[: -self.max_to_keep] if self.max_to_keep else []:
            path.unlink()


class IncompleteEvaluation(UserError):
    """A training is complete, but not all of its evaluations; ``results`` are of the last one."""

    def __init__(self, message: str, results: dict[str, Any]):
        super().__init__(message)
        self.results = results


@dataclass(eq=False)
class Evaluations(HookBase):
    """Evaluate like Detectron2's EvalHook, and repeat the evaluation in which a run was killed.

    Args:
        test: returns task -> metric -> value on the main process, and sentences about faults.
        period: iterations between evaluations; 0 to evaluate at the end only.
        output_dir: its metrics.json records which evaluations were finished.
        metric: key in metrics.json that marks an evaluation, e.g. "bbox/AP"; "" to repeat none.

    Attributes:
        faults: iteration -> what its evaluation lacks, on the main process. The metric "partial"
            of such an evaluation is 1.
    """

    test: Callable[[], tuple[dict[str, Any], list[str]]]
    period: int
    output_dir: str
    metric: str
    faults: dict[int, str] = field(default_factory=dict, init=False)

    def before_train(self) -> None:
        """Evaluate if the run resumes from a checkpoint whose evaluation is missing."""
        if self._due(self.trainer.start_iter) and comm.all_gather(self._is_missing())[0]:
            logger.info("The evaluation after the checkpoint was not finished: doing it now.")
            self._evaluate(self.trainer.start_iter - 1)

    def after_step(self) -> None:
        """Evaluate when due; `after_train` evaluates the last iteration."""
        if self._due(self.trainer.iter + 1):
            self._evaluate(self.trainer.iter)

    def after_train(self) -> None:
        """Evaluate at the end, unless the training was interrupted."""
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            # the real host counts one too many if there was nothing to train
            self._evaluate(min(self.trainer.iter, self.trainer.max_iter))

    def _due(self, done: int) -> bool:
        return self.period > 0 and 0 < done < self.trainer.max_iter and done % self.period == 0

    def _is_missing(self) -> bool:
        iterations, _ = read_curves(f"{self.output_dir}/metrics.json").get(self.metric, ([], []))
        return bool(self.metric) and self.trainer.start_iter - 1 not in iterations

    def _evaluate(self, iteration: int) -> None:
        results, faults = self.test()
        metrics = flatten_results_dict(results)
        counts = results.get("unreadable", {})
        faults = [*faults, *(f"unreadable {what}: {number}" for what, number in counts.items())]
        if faults and comm.is_main_process():
            self.faults[iteration] = text = "; ".join(fault.rstrip(".") for fault in faults)
            logger.error("The evaluation at iteration %d is incomplete: %s.", iteration, text)
            metrics["partial"] = 1.0
        if metrics and self.metric and self.metric not in metrics:
            logger.warning(
                "train.best_metric=%s is not among the metrics (%s): no best weights are kept.",
                *(self.metric, shorten_list(metrics)),
            )
        self.trainer.storage.put_scalars(smoothing_hint=False, cur_iter=iteration, **metrics)
        comm.synchronize()  # processes with nothing to evaluate must not continue training

    def raise_faults(self, results: dict[str, Any]) -> None:
        """Raise `IncompleteEvaluation` with these results if an evaluation was incomplete."""
        if self.faults:
            iterations, first = shorten_list(self.faults), next(iter(self.faults.values()))
            raise IncompleteEvaluation(
                "The training is complete and its weights are saved, but the evaluation at "
                f"iteration {iterations} is incomplete ({first}): correct the test data, and "
                "evaluate with --eval-only.",
                results,
            )


@dataclass(eq=False)
class KeepBest(HookBase):
    """Keep the weights with the highest value of a metric as model_best.pth.

    Incomplete evaluations do not count. Register it after `Evaluations`. The file also holds the
    value, so that a resumed run knows the best so far.

    Args:
        checkpointer: saves the weights that are evaluated.
        metric: e.g. "bbox/AP".
    """

    NAME: ClassVar = "model_best"

    checkpointer: StrictCheckpointer
    metric: str
    best: float = field(default=-math.inf, init=False)
    _last_value_at: int = field(default=-1, init=False)

    def before_train(self) -> None:
        """Read the best value so far, if this run is resumed."""
        path = Path(self.checkpointer.save_dir) / f"{self.NAME}.pth"
        if self.trainer.start_iter > 0 and checkpoint_fault(path) is None:
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
            if content.get("metric") == self.metric:
                self.best = content["value"]
        self.after_step()  # `Evaluations` may have repeated one

    def after_step(self) -> None:
        """Save if there was a new evaluation, and it is the best."""
        value, iteration = self.trainer.storage.latest().get(self.metric, (-math.inf, -1))
        if iteration <= self._last_value_at:
            return
        self._last_value_at = iteration
        if self.trainer.storage.latest().get("partial", (0, -1))[1] == iteration:
            return  # its value is of other samples
        if value > self.best:
            self.best = value
            logger.info("%s = %.4f is the best so far.", self.metric, value)
            self.checkpointer.save(
                self.NAME, tag=False, iteration=iteration, metric=self.metric, value=value
            )

    def after_train(self) -> None:
        """Check the last evaluation, which is made after the last step."""
        self.after_step()


@dataclass(eq=False)
class DrawCurves(HookBase):
    """Draw the curves of metrics.json every ``period`` iterations and at the end.

    Register it after the writer of that file.

    Args:
        output_dir: folder of metrics.json and of the PNGs.
        period: in iterations; 0 to draw at the end only.
    """

    output_dir: str
    period: int

    def after_step(self) -> None:
        """Draw when due."""
        done = self.trainer.iter + 1
        if self.period > 0 and done % self.period == 0 and done < self.trainer.max_iter:
            self.after_train()

    def after_train(self) -> None:
        """Draw all iterations so far."""
        draw_curves(f"{self.output_dir}/metrics.json", self.output_dir)
