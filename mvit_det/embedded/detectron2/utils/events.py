"""What happens during training, by name and iteration, and the writers that report it."""

import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import takewhile
from typing import Any

import torch
from fvcore.common.history_buffer import HistoryBuffer

from detectron2.utils.file_io import PathManager

__all__ = [
    "EventStorage",
    "EventWriter",
    "JSONWriter",
    "TensorboardXWriter",
    "CommonMetricPrinter",
    "get_event_storage",
    "has_event_storage",
]

# The innermost `with EventStorage()` is the last one.
_open_storages: list["EventStorage"] = []


def has_event_storage() -> bool:
    """Whether the caller runs inside a ``with EventStorage(...)`` block."""
    return bool(_open_storages)


def get_event_storage() -> "EventStorage":
    """The storage of the innermost ``with EventStorage(...)`` block."""
    assert _open_storages, "There is no open event storage: use `with EventStorage(): ...`."
    return _open_storages[-1]


class EventStorage:
    """Histories of scalars, and images that wait for a writer.

    Attributes:
        iter: the iteration that newly put values belong to.
    """

    def __init__(self, start_iter: int = 0):
        self.iter = start_iter
        self._histories: dict[str, HistoryBuffer] = defaultdict(HistoryBuffer)
        self._hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._vis_data: list[tuple[str, torch.Tensor, int]] = []
        self._prefix = ""

    def __enter__(self) -> "EventStorage":
        _open_storages.append(self)
        return self

    def __exit__(self, *exception: Any) -> None:
        assert _open_storages.pop() is self, "Event storages must close in reverse order."

    def step(self) -> None:
        """Go on to the next iteration."""
        self.iter += 1

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Within the block, put every scalar under ``name/``; an inner scope replaces it."""
        outer, self._prefix = self._prefix, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = outer

    def put_scalar(
        self, name: str, value: float, smoothing_hint: bool = True, cur_iter: int | None = None
    ) -> None:
        """Add one value.

        Args:
            value: anything that ``float`` takes, such as a tensor of one element.
            smoothing_hint: whether the value is noisy, so that writers show medians. Must be the
                same at each call for one name.
            cur_iter: the iteration it belongs to, if it is not the current one.
        """
        name = self._prefix + name
        hinted = self._hints.setdefault(name, smoothing_hint)
        assert hinted == smoothing_hint, f"{name!r} came with smoothing_hint={hinted} before."
        when = self.iter if cur_iter is None else cur_iter
        self._latest[name] = (float(value), when)
        self._histories[name].update(*self._latest[name])

    def put_scalars(
        self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs: float
    ) -> None:
        """Add several values of one iteration, each by its name."""
        for name in kwargs:
            self.put_scalar(name, kwargs[name], smoothing_hint, cur_iter)

    def put_image(self, img_name: str, img_tensor: torch.Tensor) -> None:
        """Add a picture of shape (3, H, W): uint8 of 0..255, or float of 0..1; RGB."""
        self._vis_data.append((img_name, img_tensor, self.iter))

    def clear_images(self) -> None:
        """Forget the pictures, which a writer has taken."""
        self._vis_data.clear()

    def histories(self) -> dict[str, HistoryBuffer]:
        """All histories by name."""
        return self._histories

    def history(self, name: str) -> HistoryBuffer:
        """The values of one name; KeyError where none was put."""
        if name not in self._histories:
            raise KeyError(f"Nothing was recorded under {name!r}.")
        return self._histories[name]

    def latest(self) -> dict[str, tuple[float, int]]:
        """For each name, the value put last and its iteration."""
        return self._latest

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """How many values of ``name`` its last ``window_size`` iterations hold."""
        values = self.history(name).values()
        floor = values[-1][1] - window_size
        # From the end: a history of a long run has many thousand values.
        return sum(1 for _ in takewhile(lambda value: value[1] > floor, reversed(values)))

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Like ``latest``, but noisy values as the median of the last ``window_size`` iterations."""

        def shown(name: str, value: float) -> float:
            if not self._hints[name]:
                return value
            return self._histories[name].median(self.count_samples(name, window_size))

        return {name: (shown(name, value), i) for name, (value, i) in self._latest.items()}


class EventWriter:
    """Takes from the current event storage what is new, and reports it somewhere."""

    def write(self) -> None:
        """Report what came since the last call."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish; nothing is written afterwards."""


class _NewScalars:
    """Remembers what was taken, so that each value is reported once."""

    def __init__(self, window_size: int):
        self.window_size = window_size
        self.last_iter = -1

    def take(self) -> list[tuple[str, float, int]]:
        """(name, value, iteration) of the scalars of later iterations than the last call's."""
        latest = get_event_storage().latest_with_smoothing_hint(self.window_size)
        new = [(name, float(v), i) for name, (v, i) in latest.items() if i > self.last_iter]
        self.last_iter = max([self.last_iter] + [i for _, _, i in new])
        return new


class JSONWriter(EventWriter):
    """One JSON object per line and iteration: ``{"iteration": 19, "lr": ..., "total_loss": ...}``.

    Args:
        json_file: is appended to, so that a resumed run goes on in the same file.
        window_size: noisy scalars are medians over so many iterations.
    """

    def __init__(self, json_file: str, window_size: int = 20):
        self._file = PathManager.open(json_file, "a")
        self._new = _NewScalars(window_size)

    def write(self) -> None:
        rows: dict[int, dict[str, float]] = {}
        for name, value, iteration in self._new.take():
            rows.setdefault(iteration, {"iteration": iteration})[name] = value
        self._file.writelines(json.dumps(row, sort_keys=True) + "\n" for row in rows.values())
        self._file.flush()
        # A line that was reported must survive a crash of the machine.
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class TensorboardXWriter(EventWriter):
    """Scalars and pictures for TensorBoard.

    Args:
        window_size: noisy scalars are medians over so many iterations.
        kwargs: go to ``torch.utils.tensorboard.SummaryWriter``.
    """

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any):
        # Imported late: it takes a second, which every process that imports this would pay.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(log_dir, **kwargs)
        self._new = _NewScalars(window_size)

    def write(self) -> None:
        for scalar in self._new.take():
            self._writer.add_scalar(*scalar)
        storage = get_event_storage()
        for picture in storage._vis_data:
            self._writer.add_image(*picture)
        storage.clear_images()

    def close(self) -> None:
        self._writer.close()


class CommonMetricPrinter(EventWriter):
    """One log line of what every training has: ETA, losses, times, learning rate, GPU memory.

    Args:
        max_iter: the end of training; without it no ETA is shown.
        window_size: losses are medians over so many iterations.
    """

    def __init__(self, max_iter: int | None = None, window_size: int = 20):
        self._max_iter = max_iter
        self._window_size = window_size
        self._last_write: tuple[int, float] | None = None
        self._logger = logging.getLogger("detectron2.utils.events")

    def _eta(self, storage: EventStorage) -> str | None:
        if self._max_iter is None:
            return None
        left = max(self._max_iter - storage.iter - 1, 0)
        if "time" in storage.histories():
            seconds = storage.history("time").median(1000) * left
            storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
        elif self._last_write is not None and storage.iter > self._last_write[0]:
            then, clock = self._last_write
            seconds = (time.perf_counter() - clock) / (storage.iter - then) * left
        else:
            seconds = None
        self._last_write = (storage.iter, time.perf_counter())
        return None if seconds is None else f"eta: {timedelta(seconds=int(seconds))}"

    def _times(self, storage: EventStorage, name: str, window: int | None) -> str | None:
        if name not in storage.histories():
            return None
        history = storage.history(name)
        mean = history.avg(storage.count_samples(name, window)) if window else history.global_avg()
        return f"{name}: {mean:.4f}  last_{name}: {history.latest():.4f}"

    def write(self) -> None:
        storage, window = get_event_storage(), self._window_size
        if storage.iter == self._max_iter:
            return  # training is over, and this call is only the writers' last round
        losses = [
            f"{name}: {history.median(storage.count_samples(name, window)):.4g}"
            for name, history in storage.histories().items()
            if "loss" in name
        ]
        lr = f"{storage.history('lr').latest():.5g}" if "lr" in storage.histories() else "N/A"
        memory = ""
        if torch.cuda.is_available():
            memory = f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M"
        # Empty fields leave their gaps: tools that parse such lines rely on the spacing.
        ahead = [self._eta(storage), f"iter: {storage.iter}"]
        times = [self._times(storage, "time", None), self._times(storage, "data_time", window)]
        ahead, times = ("".join(f"{part}  " for part in parts if part) for parts in (ahead, times))
        self._logger.info(f" {ahead}{'  '.join(losses)}    {times} lr: {lr}  {memory}")
