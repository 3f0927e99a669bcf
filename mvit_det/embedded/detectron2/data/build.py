"""From names of data sets to loaders of batches."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tabulate import tabulate
from torch.utils import data

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.common import (
    AspectRatioGroupedDataset,
    DatasetFromList,
    MapDataset,
    ToIterableDataset,
)
from detectron2.data.detection_utils import check_metadata_consistency
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils.comm import get_world_size
from detectron2.utils.env import seed_all_rng

logger = logging.getLogger(__name__)


def print_instances_class_histogram(
    dataset_dicts: Sequence[dict[str, Any]], class_names: Sequence[str]
) -> None:
    """Log a table of how many instances each class has; crowds do not count."""
    annotations = itertools.chain.from_iterable(entry["annotations"] for entry in dataset_dicts)
    counts = Counter(a["category_id"] for a in annotations if not a.get("iscrowd", 0))
    strays = sorted(counts.keys() - set(range(len(class_names))))
    assert not strays, (
        f"category_id {strays[0]} is used, but the data set has {len(class_names)} classes: their "
        f"ids are 0 to {len(class_names) - 1}."
    )
    rows = [(name, counts[number]) for number, name in enumerate(class_names)]
    rows.append(("all classes", counts.total()))
    # Three classes side by side keep the table of a large data set short.
    wide = [sum(rows[i : i + 3], ()) for i in range(0, len(rows), 3)]
    head = ("class", "instances") * min(3, len(rows))
    logger.info("Instances per class:\n" + tabulate(wide, head, tablefmt="pipe"))


def get_detection_dataset_dicts(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str] | None = None,
    check_consistency: bool = True,
) -> list[dict[str, Any]]:
    """Load registered data sets and join them.

    Args:
        filter_empty: drop images without a single annotation that is not a crowd.
        check_consistency: refuse data sets that differ in their classes, and log the number of
            instances per class.
        min_keypoints, proposal_files: Detectron2 has them; here they are refused.
    """
    if min_keypoints or proposal_files is not None:
        raise NotImplementedError(
            "min_keypoints and proposal_files need the real Detectron2: leave them unset."
        )
    names = [names] if isinstance(names, str) else list(names)
    assert names, "No data set is named."
    parts = [DatasetCatalog.get(name) for name in names]
    for name, part in zip(names, parts):
        assert len(part), f"Dataset {name!r} has no images."
    joined = list(itertools.chain.from_iterable(parts))
    if "annotations" in joined[0]:
        if filter_empty:
            joined = _drop_empty(joined)
        if check_consistency:
            _report_classes(joined, names)
    assert joined, f"No image of {', '.join(names)} has an annotation to learn from."
    return joined


def _drop_empty(dataset_dicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def has_object(entry: dict[str, Any]) -> bool:
        return not all(a.get("iscrowd", 0) for a in entry["annotations"])

    kept = list(filter(has_object, dataset_dicts))
    removed = len(dataset_dicts) - len(kept)
    logger.info(f"{removed} images have no annotation to learn from; {len(kept)} remain.")
    return kept


def _report_classes(dataset_dicts: list[dict[str, Any]], names: Sequence[str]) -> None:
    # Not every data set has named its classes.
    if all(hasattr(MetadataCatalog.get(name), "thing_classes") for name in names):
        check_metadata_consistency("thing_classes", names)
        print_instances_class_histogram(dataset_dicts, MetadataCatalog.get(names[0]).thing_classes)


def _as_given(batch: list[Any]) -> list[Any]:
    """Collate nothing: a detector takes a list of dicts."""
    return batch


def _seed_worker(worker_id: int) -> None:
    # All generators of a worker follow torch's seed of it, so that one seed fixes every draw.
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)


def build_batch_data_loader(
    dataset: data.Dataset,
    sampler: data.Sampler | None,
    total_batch_size: int,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    drop_last: bool = True,
    seed: int | None = None,
    **kwargs: Any,
) -> data.DataLoader | AspectRatioGroupedDataset | MapDataset:
    """Let every process load its share of each batch.

    Args:
        dataset: map-style with a ``sampler``, or iterable without one.
        total_batch_size: over all processes; they share it evenly.
        aspect_ratio_grouping: images of one batch are all wide or all not wide; items then need
            "width" and "height".
        num_workers: processes per process that load data; with 0 the process itself does.
        collate_fn: makes a batch of a list of items; by default the list itself.
        seed: of the loader's generator, from which the workers are seeded.
        kwargs: to ``torch.utils.data.DataLoader``: pin_memory, prefetch_factor, ...
    """
    world = get_world_size()
    batch_size, rest = divmod(total_batch_size, world)
    assert (
        batch_size > 0 == rest
    ), f"{world} processes cannot share {total_batch_size} images evenly."
    logger.info(f"Each process loads batches of {batch_size}.")
    if seed is not None:
        kwargs["generator"] = torch.Generator().manual_seed(seed)
    kwargs.update(num_workers=num_workers, worker_init_fn=_seed_worker)
    if sampler is not None:
        # Each worker then loads whole batches: the order of images does not depend on num_workers.
        dataset = ToIterableDataset(dataset, sampler, shard_chunk_size=batch_size)
    if not aspect_ratio_grouping:
        kwargs.update(drop_last=drop_last, collate_fn=collate_fn or _as_given)
        return data.DataLoader(dataset, batch_size, **kwargs)
    assert drop_last, "Batches by aspect ratio leave incomplete ones out: drop_last must be True."
    loader = data.DataLoader(dataset, batch_size=None, collate_fn=_as_given, **kwargs)
    batches = AspectRatioGroupedDataset(loader, batch_size)
    return batches if collate_fn is None else MapDataset(batches, collate_fn)


def _with_sampler(
    dataset: list[Any] | data.Dataset,
    mapper: Callable[[dict[str, Any]], Any] | None,
    sampler: data.Sampler | None,
    default_sampler: type[data.Sampler],
) -> tuple[data.Dataset, data.Sampler | None]:
    """The mapped data set and its sampler; a stream has its own order, and so no sampler."""
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    if isinstance(dataset, data.IterableDataset):
        assert sampler is None, "A stream has its own order: leave the sampler out."
    elif sampler is None:
        sampler = default_sampler(len(dataset))
    return (dataset if mapper is None else MapDataset(dataset, mapper)), sampler


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
) -> data.DataLoader | AspectRatioGroupedDataset | MapDataset:
    """An endless loader of training batches.

    Args:
        dataset: dataset dicts, or a data set of them.
        mapper: makes a training sample of a dataset dict; None leaves it as it is.
        sampler: an endless stream of indices; by default a shuffling `TrainingSampler`.
        kwargs: see `build_batch_data_loader`, as for the other arguments.
    """
    dataset, sampler = _with_sampler(dataset, mapper, sampler, TrainingSampler)
    kwargs.update(aspect_ratio_grouping=aspect_ratio_grouping, num_workers=num_workers)
    return build_batch_data_loader(
        dataset, sampler, total_batch_size, collate_fn=collate_fn, **kwargs
    )


def build_detection_test_loader(
    dataset: list[Any] | data.Dataset,
    *,
    mapper: Callable[[dict[str, Any]], Any] | None,
    sampler: data.Sampler | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
) -> data.DataLoader:
    """A loader that goes through the data set once, in order, each process through its part.

    Args:
        batch_size: per process; the last batch may be smaller.
    """
    dataset, sampler = _with_sampler(dataset, mapper, sampler, InferenceSampler)
    return data.DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate_fn or _as_given,
    )
