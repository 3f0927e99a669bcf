"""Data sets made of other data sets: serialised, mapped, streamed, grouped by aspect ratio."""

import copy
import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from logging import WARNING
from typing import Any

import numpy as np
import torch
from torch.utils import data

from detectron2.utils.logger import log_every_n_seconds


class DatasetFromList(data.Dataset):
    """A list as a data set.

    Args:
        lst: items that pickle.
        copy: give out a deep copy of each item, so that nobody changes the list.
        serialize: keep the items as one array of bytes. Worker processes then share its memory;
            of a list of objects each worker ends up with its own copy, as reference counts change.
    """

    def __init__(self, lst: list[Any], copy: bool = True, serialize: bool = True):
        # What has just been unpickled is a copy already.
        self._copies = copy and not serialize
        self._items = _PickledList(lst) if serialize else lst

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, idx: int) -> Any:
        item = self._items[idx]
        return copy.deepcopy(item) if self._copies else item


class _PickledList:
    def __init__(self, items: list[Any]):
        pickles = [pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL) for item in items]
        self._bytes = torch.frombuffer(bytearray(b"".join(pickles) or b"\0"), dtype=torch.uint8)
        self._ends = np.cumsum([len(p) for p in pickles], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, idx: int) -> Any:
        end = self._ends[idx]
        start = self._ends[idx - 1] if idx % len(self) else 0
        return pickle.loads(memoryview(self._bytes[start:end].numpy()))


class MapDataset(data.Dataset):
    """Apply a function to the items of a data set.

    An item for which the function returns None is skipped. A map-style data set gives another,
    randomly chosen item in its place; of an iterable one the stream gets shorter (and
    ``MapDataset(...)`` makes an ``IterableDataset``).
    """

    def __new__(cls, dataset: data.Dataset, map_func: Callable[[Any], Any]):
        streaming = isinstance(dataset, data.IterableDataset)
        return super().__new__(_MapIterableDataset if streaming else cls)

    def __getnewargs__(self) -> tuple[data.Dataset, Callable[[Any], Any]]:
        return self._dataset, self._map_func  # for pickling, as __new__ wants them

    def __init__(self, dataset: data.Dataset, map_func: Callable[[Any], Any]):
        self._dataset = dataset
        self._map_func = map_func
        self._rng = random.Random(42)
        self._usable = None if isinstance(dataset, data.IterableDataset) else set(range(len(self)))

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


class _MapIterableDataset(MapDataset, data.IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        return (item for item in map(self._map_func, self._dataset) if item is not None)


class ToIterableDataset(data.IterableDataset):
    """Stream a map-style data set in the order of a sampler.

    Args:
        shard_sampler: share the sampler's stream out among the workers of a DataLoader. Switch it
            off where the sampler does so itself.
        shard_chunk_size: so many successive items go to one worker before the next one's turn.
    """

    def __init__(
        self,
        dataset: data.Dataset,
        sampler: data.Sampler,
        shard_sampler: bool = True,
        shard_chunk_size: int = 1,
    ):
        assert not isinstance(dataset, data.IterableDataset), f"{dataset} is a stream already."
        assert isinstance(sampler, data.Sampler), f"{sampler!r} is no torch.utils.data.Sampler."
        self.dataset, self.sampler = dataset, sampler
        self.shard_sampler, self.shard_chunk_size = shard_sampler, shard_chunk_size

    def __iter__(self) -> Iterator[Any]:
        worker = data.get_worker_info()
        if worker is None or not self.shard_sampler:
            mine = iter(self.sampler)
        else:
            turn = worker.num_workers * self.shard_chunk_size
            first = worker.id * self.shard_chunk_size
            last = first + self.shard_chunk_size
            numbered = enumerate(self.sampler)
            mine = (index for place, index in numbered if first <= place % turn < last)
        return map(self.dataset.__getitem__, mine)

    def __len__(self) -> int:
        return len(self.sampler)


class AspectRatioGroupedDataset(data.IterableDataset):
    """Batches of images that are all wide, or all not wide, so that padding wastes little.

    Args:
        dataset: a stream of dicts with "width" and "height".
        batch_size: a batch is given out as soon as one of the two groups has so many.
    """

    def __init__(self, dataset: Iterable[dict[str, Any]], batch_size: int):
        self.dataset, self.batch_size = dataset, batch_size

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        groups: dict[bool, list] = {True: [], False: []}
        for item in self.dataset:
            wide = item["width"] > item["height"]
            groups[wide].append(item)
            if len(groups[wide]) == self.batch_size:
                yield groups[wide]
                groups[wide] = []
