"""Data sets that wrap others: serialised, mapped."""

import pickle
import random
from collections.abc import Callable
from logging import WARNING
from typing import Any

import numpy as np
import torch
from torch.utils import data

from detectron2.utils.logger import log_every_n_seconds


class DatasetFromList(data.Dataset):
    """Serve copies of the items of a list.

    The items are pickled into one array of bytes, whose memory worker processes share. A list of
    objects would be copied in each worker, because reference counts change.
    """

    def __init__(self, lst: list[Any]):
        pickles = [pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL) for item in lst]
        self._bytes = torch.frombuffer(bytearray(b"".join(pickles) or b"\0"), dtype=torch.uint8)
        self._ends = np.cumsum([len(p) for p in pickles], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, idx: int) -> Any:
        end = self._ends[idx]
        start = self._ends[idx - 1] if idx % len(self) else 0
        return pickle.loads(self._bytes[start:end].numpy().data)


class MapDataset(data.Dataset):
    """Apply a function to the items of a map-style data set.

    A random item replaces one for which the function returns None.
    """

    def __init__(self, dataset: Any, map_func: Callable[[Any], Any]):
        self._dataset, self._map_func = dataset, map_func
        self._rng = random.Random(42)
        self._usable = set(range(len(dataset)))

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, idx: int) -> Any:
        skipped = []
        while (item := self._map_func(self._dataset[idx])) is None:
            skipped.append(int(idx))
            self._usable.discard(idx)
            if not self._usable:
                raise ValueError(f"The mapper returned None for each of the {len(self)} items.")
            if len(skipped) >= 3:
                log_every_n_seconds(WARNING, f"The mapper returned None for items {skipped}.", 1)
            (idx,) = self._rng.sample(list(self._usable), k=1)
        self._usable.add(idx)
        return item
