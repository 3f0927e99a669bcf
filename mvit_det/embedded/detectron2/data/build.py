"""Data loaders of registered data sets."""

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
    """Load and concatenate registered data sets of equal classes; log the instances per class.

    ``filter_empty`` drops images whose annotations are all crowds, or that have none.

    Raises:
        AssertionError: no name, no image, or a category_id outside of the classes.
        ValueError: the data sets have different classes.
    """
    names = [names] if isinstance(names, str) else list(names)
    assert names, "Name at least one data set."
    parts = [DatasetCatalog.get(name) for name in names]
    for name, part in zip(names, parts):
        assert len(part), f"Dataset {name!r} has no images."
    joined = list(itertools.chain.from_iterable(parts))
    if "annotations" in joined[0]:
        if filter_empty:
            total = len(joined)
            joined = [r for r in joined if not all(a.get("iscrowd", 0) for a in r["annotations"])]
            logger.info(f"{len(joined)} of {total} images have usable annotations.")
        _log_class_histogram(joined, names)
    assert joined, f"All images of {', '.join(names)} lack usable annotations."
    return joined


def _log_class_histogram(dataset_dicts: list[dict[str, Any]], names: Sequence[str]) -> None:
    """Check that the data sets have equal classes, and log the instances of each class."""
    classes = [MetadataCatalog.get(name).get("thing_classes") for name in names]
    if None in classes:  # a data set without names of classes
        return
    for name, class_names in zip(names, classes):
        if class_names != classes[0]:
            both = f"{name!r} is {class_names}, but {names[0]!r} has {classes[0]}"
            raise ValueError(f"thing_classes of {both}: train with data sets of equal classes.")
    print_instances_class_histogram(dataset_dicts, classes[0])


def print_instances_class_histogram(
    dataset_dicts: list[dict[str, Any]], class_names: Sequence[str]
) -> None:
    """Log the instances of each class, crowds not included.

    Raises:
        AssertionError: a category_id outside of the classes.
    """
    annotations = itertools.chain.from_iterable(entry["annotations"] for entry in dataset_dicts)
    counts = Counter(a["category_id"] for a in annotations if not a.get("iscrowd", 0))
    unknown = counts.keys() - set(range(len(class_names)))
    assert not unknown, f"category_id {min(unknown)} is not below {len(class_names)}, the classes."
    rows = [(name, counts[label]) for label, name in enumerate(class_names)]
    logger.info("Instances per class:\n" + tabulate(rows, ("class", "instances"), "pipe"))


def _no_collation(batch: list[Any]) -> list[Any]:
    """Return the samples as they are: a detector takes a list of dicts."""
    return batch


def _seed_worker(worker_id: int) -> None:
    # Torch's seed of the worker seeds all its generators: one seed fixes all random numbers.
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)


def _map_dataset(dataset: list[Any] | data.Dataset, mapper: Callable[[Any], Any] | None) -> Any:
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset)
    return dataset if mapper is None else MapDataset(dataset, mapper)


class _Stream(data.IterableDataset):
    """Stream a data set in the order of a sampler; workers take turns of ``chunk`` items."""

    def __init__(self, dataset: data.Dataset, sampler: Iterable[int], chunk: int):
        self.dataset, self.sampler, self.chunk = dataset, sampler, chunk

    def __iter__(self) -> Iterator[Any]:
        info = data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for position, index in enumerate(self.sampler):
            if position // self.chunk % workers == worker:
                yield self.dataset[index]


class _AspectRatioBatches(data.IterableDataset):
    """Group a stream into batches of landscape or other images, which need less padding."""

    def __init__(self, stream: Iterable[dict[str, Any]], batch_size: int, collate: Callable):
        self.stream, self.batch_size, self.collate = stream, batch_size, collate

    def __iter__(self) -> Iterator[Any]:
        groups: dict[bool, list] = {True: [], False: []}
        for item in self.stream:
            is_landscape = item["width"] > item["height"]
            groups[is_landscape].append(item)
            if len(groups[is_landscape]) == self.batch_size:
                yield self.collate(groups[is_landscape])
                groups[is_landscape] = []


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
        mapper: maps a dataset dict to a training sample; None: samples are dataset dicts.
        sampler: an endless stream of indices; by default a shuffling `TrainingSampler`.
        total_batch_size: over all processes, which share it evenly.
        aspect_ratio_grouping: no batch has both landscape and other images; samples then need
            "width" and "height".
        num_workers: loading processes of each training process; 0: load in it.
        collate_fn: maps a list of samples to a batch; by default the list is the batch.
        **kwargs: for ``torch.utils.data.DataLoader``: pin_memory, prefetch_factor, ...

    Raises:
        AssertionError: ``total_batch_size`` is not a multiple of the number of processes.
    """
    world, collate_fn = get_world_size(), collate_fn or _no_collation
    batch_size, rest = divmod(total_batch_size, world)
    is_even = batch_size > 0 == rest
    assert is_even, f"{world} processes cannot share {total_batch_size} images evenly."
    logger.info(f"Each process loads batches of {batch_size}.")
    mapped = _map_dataset(dataset, mapper)
    # Each worker loads whole batches: the order of images does not depend on num_workers.
    stream = _Stream(mapped, sampler or TrainingSampler(len(mapped)), batch_size)
    kwargs.update(num_workers=num_workers, worker_init_fn=_seed_worker)
    if not aspect_ratio_grouping:
        return data.DataLoader(stream, batch_size, drop_last=True, collate_fn=collate_fn, **kwargs)
    samples = data.DataLoader(stream, batch_size=None, collate_fn=_no_collation, **kwargs)
    return _AspectRatioBatches(samples, batch_size, collate_fn)


def build_detection_test_loader(
    dataset, *, mapper, sampler=None, batch_size=1, num_workers=0, collate_fn=None
) -> data.DataLoader:
    """Make a loader that iterates once over the data set, in order; each process loads its part.

    ``batch_size`` is per process; the last batch may be smaller. Batches are lists by default.
    """
    dataset = _map_dataset(dataset, mapper)
    sampler = sampler or InferenceSampler(len(dataset))
    options = dict(num_workers=num_workers, collate_fn=collate_fn or _no_collation)
    return data.DataLoader(dataset, batch_size, sampler=sampler, **options)
