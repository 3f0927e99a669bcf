"""From names of data sets to loaders of batches."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from tabulate import tabulate
from torch.utils import data

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.common import DatasetFromList, MapDataset
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils.comm import get_world_size
from detectron2.utils.env import seed_all_rng

logger = logging.getLogger(__name__)


def get_detection_dataset_dicts(names: str | Sequence[str], filter_empty=True) -> list[dict]:
    """Load registered data sets of the same classes, join them, and log their histogram.

    ``filter_empty`` drops images without a single annotation that is not a crowd.
    """
    names = [names] if isinstance(names, str) else list(names)
    assert names, "No data set is named."
    parts = [DatasetCatalog.get(name) for name in names]
    for name, part in zip(names, parts):
        assert len(part), f"Dataset {name!r} has no images."
    joined = list(itertools.chain.from_iterable(parts))
    if "annotations" in joined[0]:
        if filter_empty:
            found = len(joined)
            joined = [r for r in joined if not all(a.get("iscrowd", 0) for a in r["annotations"])]
            logger.info(f"{len(joined)} of {found} images have an annotation to learn from.")
        _report_classes(joined, names)
    assert joined, f"No image of {', '.join(names)} has an annotation to learn from."
    return joined


def _report_classes(dataset_dicts: list[dict[str, Any]], names: Sequence[str]) -> None:
    """Compare the classes of the data sets, and log how many instances each has without crowds."""
    classes = [MetadataCatalog.get(name).get("thing_classes") for name in names]
    if None in classes:  # not every data set has named its classes
        return
    for name, other in zip(names, classes):
        if other != classes[0]:
            both = f"{name!r} is {other}, but {names[0]!r} has {classes[0]}"
            raise ValueError(f"thing_classes of {both}: train with data sets of equal classes.")
    annotations = itertools.chain.from_iterable(entry["annotations"] for entry in dataset_dicts)
    counts = Counter(a["category_id"] for a in annotations if not a.get("iscrowd", 0))
    strays = counts.keys() - set(range(len(classes[0])))
    assert not strays, f"category_id {min(strays)} must be below {len(classes[0])}, the classes."
    rows = [(name, counts[label]) for label, name in enumerate(classes[0])]
    logger.info("Instances per class:\n" + tabulate(rows, ("class", "instances"), "pipe"))


def _as_given(batch: list[Any]) -> list[Any]:
    """Collate nothing: a detector takes a list of dicts."""
    return batch


def _seed_worker(worker_id: int) -> None:
    # All generators of a worker follow torch's seed of it, so that one seed fixes every draw.
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)


def _mapped(dataset: list[Any] | data.Dataset, mapper: Callable[[Any], Any] | None) -> data.Dataset:
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset)
    return dataset if mapper is None else MapDataset(dataset, mapper)


class _Stream(data.IterableDataset):
    """The items of a data set in a sampler's order; each worker takes ``chunk`` of them in turn."""

    def __init__(self, dataset: data.Dataset, sampler: Iterable[int], chunk: int):
        self.dataset, self.sampler, self.chunk = dataset, sampler, chunk

    def __iter__(self) -> Iterator[Any]:
        info = data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for place, index in enumerate(self.sampler):
            if place // self.chunk % workers == worker:
                yield self.dataset[index]


class _AspectRatioBatches(data.IterableDataset):
    """Batches of samples that are all wide, or all not wide, so that padding wastes little."""

    def __init__(self, stream: Iterable[dict[str, Any]], batch_size: int, collate: Callable):
        self.stream, self.batch_size, self.collate = stream, batch_size, collate

    def __iter__(self) -> Iterator[Any]:
        groups: dict[bool, list] = {True: [], False: []}
        for item in self.stream:
            wide = item["width"] > item["height"]
            groups[wide].append(item)
            if len(groups[wide]) == self.batch_size:
                yield self.collate(groups[wide])
                groups[wide] = []


def build_detection_train_loader(
    dataset: list[Any] | data.Dataset,
    *,
    mapper: Callable[[dict[str, Any]], Any] | None,
    sampler: data.Sampler | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    **kwargs: Any,
) -> Iterable[Any]:
    """Make an endless loader of training batches; each process loads its share.

    Args:
        dataset: dataset dicts, or a map-style data set of them.
        mapper: makes a training sample of a dataset dict; None leaves it as it is.
        sampler: an endless stream of indices; by default a shuffling `TrainingSampler`.
        total_batch_size: over all processes; they share it evenly.
        aspect_ratio_grouping: images of one batch are all wide or all not wide; samples then need
            "width" and "height".
        collate_fn: makes a batch of a list of samples; by default the list itself is the batch.
        kwargs: to ``torch.utils.data.DataLoader``: pin_memory, prefetch_factor, ...
    """
    world, collate_fn = get_world_size(), collate_fn or _as_given
    batch_size, rest = divmod(total_batch_size, world)
    shared = batch_size > 0 == rest
    assert shared, f"{world} processes cannot share {total_batch_size} images evenly."
    logger.info(f"Each process loads batches of {batch_size}.")
    dataset = _mapped(dataset, mapper)
    # Each worker loads whole batches: the order of images does not depend on num_workers.
    stream = _Stream(dataset, sampler or TrainingSampler(len(dataset)), batch_size)
    kwargs.update(num_workers=num_workers, worker_init_fn=_seed_worker)
    if not aspect_ratio_grouping:
        return data.DataLoader(stream, batch_size, drop_last=True, collate_fn=collate_fn, **kwargs)
    samples = data.DataLoader(stream, batch_size=None, collate_fn=_as_given, **kwargs)
    return _AspectRatioBatches(samples, batch_size, collate_fn)


def build_detection_test_loader(
    dataset, *, mapper, sampler=None, batch_size=1, num_workers=0, collate_fn=None
) -> data.DataLoader:
    """Make a loader that goes through the data set once, in order, each process through its part.

    ``batch_size`` is per process; the last batch may be smaller. Batches are lists by default.
    """
    dataset = _mapped(dataset, mapper)
    sampler = sampler or InferenceSampler(len(dataset))
    options = dict(num_workers=num_workers, collate_fn=collate_fn or _as_given)
    return data.DataLoader(dataset, batch_size, sampler=sampler, **options)
