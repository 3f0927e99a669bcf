"""Scalars of training, by name and iteration, and the writers that report them."""

import json
import logging
import os
from datetime import timedelta
from itertools import takewhile
from typing import Any

import torch
from fvcore.common.history_buffer import HistoryBuffer

from detectron2.utils.file_io import PathManager

# The innermost `with EventStorage()` is the last one.
_open_storages: list["EventStorage"] = []


def get_event_storage() -> "EventStorage":
    """Return the storage of the innermost ``with EventStorage(...)`` block.

    Raises:
        AssertionError: outside of every block.
    """
    assert _open_storages, "There is no open event storage: use `with EventStorage(): ...`."
    return _open_storages[-1]


class EventStorage:
    """Keep histories of scalars; a new value belongs to the iteration ``iter``."""

    def __init__(self, start_iter: int = 0):
        self.iter = start_iter
        self._histories: dict[str, HistoryBuffer] = {}
        self._hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> "EventStorage":
        _open_storages.append(self)
        return self

    def __exit__(self, *exception: Any) -> None:
        assert _open_storages.pop() is self, "Event storages must close in reverse order."

    def step(self) -> None:
        """Continue with the next iteration."""
        self.iter += 1

    def put_scalar(self, name: str, value: float, smoothing_hint=True, cur_iter=None) -> None:
        """Add a number or a one-element tensor at ``cur_iter``, by default the current iteration.

        ``smoothing_hint``: whether the values are noisy, so that writers report medians.

        Raises:
            AssertionError: earlier values of the name have another ``smoothing_hint``.
        """
        hint = self._hints.setdefault(name, smoothing_hint)
        assert hint == smoothing_hint, f"{name!r} has smoothing_hint={hint} already."
        iteration = self.iter if cur_iter is None else cur_iter
        self._latest[name] = (float(value), iteration)
        self._histories.setdefault(name, HistoryBuffer()).update(*self._latest[name])

    def put_scalars(self, *, smoothing_hint=True, cur_iter=None, **kwargs: float) -> None:
        """Add several values of one iteration, by name."""
        for name in kwargs:
            self.put_scalar(name, kwargs[name], smoothing_hint, cur_iter)

    def histories(self) -> dict[str, HistoryBuffer]:
        """Return all histories by name."""
        return self._histories

    def history(self, name: str) -> HistoryBuffer:
        """Return the values of one name; KeyError if there are none."""
        return self._histories[name]

    def latest(self) -> dict[str, tuple[float, int]]:
        """Return, by name, the latest value and its iteration."""
        return self._latest

    def smoothing_hints(self) -> dict[str, bool]:
        """Return, by name, whether the values are noisy."""
        return self._hints

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """Count the values of ``name`` in its last ``window_size`` iterations."""
        values = self.history(name).values()
        floor = values[-1][1] - window_size
        # From the end: a history of a long run has many thousand values.
        return sum(1 for _ in takewhile(lambda value: value[1] > floor, reversed(values)))

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Return ``latest``, with medians of ``window_size`` iterations for noisy values."""

        def smooth(name: str, value: float) -> float:
            if not self._hints[name]:
                return value
            return self._histories[name].median(self.count_samples(name, window_size))

        return {name: (smooth(name, value), i) for name, (value, i) in self._latest.items()}


class EventWriter:
    """Base class of what reports the new scalars of the current event storage."""

    _last_iter = -1

    def _new_scalars(self) -> list[tuple[str, float, int]]:
        """Return (name, value, iteration) of scalars of iterations after those of the last call."""
        latest = get_event_storage().latest_with_smoothing_hint()
        new = [(name, value, i) for name, (value, i) in latest.items() if i > self._last_iter]
        self._last_iter = max([self._last_iter] + [i for _, _, i in new])
        return new

    def write(self) -> None:
        """Report the scalars since the last call."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish; nothing is written afterwards."""


class JSONWriter(EventWriter):
    """Write a JSON line per iteration: ``{"iteration": 19, "lr": ..., "total_loss": ...}``.

    A resumed run appends to the file.
    """

    def __init__(self, json_file: str):
        self._file = PathManager.open(json_file, "a", encoding="utf-8")

    def write(self) -> None:
        """Append the new scalars to the file."""
        rows: dict[int, dict[str, float]] = {}
        for name, value, iteration in self._new_scalars():
            rows.setdefault(iteration, {"iteration": iteration})[name] = float(value)
        self._file.writelines(json.dumps(row, sort_keys=True) + "\n" for row in rows.values())
        self._file.flush()
        # A reported line must survive a crash of the machine.
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorboardXWriter(EventWriter):
    """Write scalars for TensorBoard."""

    def __init__(self, log_dir: str):
        # Late, because the import takes a second.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(log_dir)

    def write(self) -> None:
        """Add the new scalars to the event file."""
        for scalar in self._new_scalars():
            self._writer.add_scalar(*scalar)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class CommonMetricPrinter(EventWriter):
    """Log ETA, losses, times in seconds, learning rate and GPU memory on one line.

    Losses are medians over ``window_size`` iterations; an ETA needs ``max_iter``.
    """

    def __init__(self, max_iter: int | None = None, window_size: int = 20):
        self._max_iter, self._window_size = max_iter, window_size
        self._logger = logging.getLogger(__name__)

    def write(self) -> None:
        """Log the line of the current iteration."""
        storage, histories = get_event_storage(), get_event_storage().histories()
        if storage.iter == self._max_iter:
            return  # the call after the end of training
        # An empty field keeps its gap: tools that parse these lines rely on the spacing.
        eta = times = memory = ""
        if "time" in histories:
            times = f"time: {histories['time'].global_avg():.4f}  "
            times += f"last_time: {histories['time'].latest():.4f}  "
            if self._max_iter is not None:
                seconds = histories["time"].median(1000) * (self._max_iter - storage.iter - 1)
                storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
                eta = f"eta: {timedelta(seconds=int(seconds))}  "
        if "data_time" in histories:
            recent = storage.count_samples("data_time", self._window_size)
            times += f"data_time: {histories['data_time'].avg(recent):.4f}  "
            times += f"last_data_time: {histories['data_time'].latest():.4f}  "
        losses = "  ".join(
            f"{name}: {history.median(storage.count_samples(name, self._window_size)):.4g}"
            for name, history in histories.items()
            if "loss" in name
        )
        lr = f"{histories['lr'].latest():.5g}" if "lr" in histories else "N/A"
        if torch.cuda.is_available():
            memory = f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M"
        self._logger.info(f" {eta}iter: {storage.iter}  {losses}    {times} lr: {lr}  {memory}")
