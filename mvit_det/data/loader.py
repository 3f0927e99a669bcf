"""Training batches whose order and augmentation depend on the seed and the position alone.

Detectron2's loader draws augmentations from generators that live as long as its workers. Here each
sample has a seed of its own, made of the run's seed and of its position in the stream of samples:
a run that is stopped and resumed sees what it would have seen, with any number of workers.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetFromList
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from mvit_det import randomness
from mvit_det.errors import UserError

MAX_TRIES = 1000
TIMEOUT_SECONDS = 600  # for a batch, after which its worker is taken for frozen


def build_train_loader(
    dataset: Sequence[dict[str, Any]],
    *,
    mapper: Callable[[dict[str, Any]], Any | None],
    total_batch_size: int,
    num_workers: int = 0,
    aspect_ratio_grouping: bool = True,
    seed: int | None = None,
) -> "TrainLoader":
    """An endless loader of training batches (lists of samples); each process loads its share.

    Args:
        dataset: dataset dicts; with grouping they need "width" and "height".
        mapper: makes a sample of a dataset dict; where it returns None another image is taken.
        total_batch_size: images per batch over all processes, which share it evenly.
        num_workers: processes that load, for each process that trains; 0 loads in the latter.
        aspect_ratio_grouping: the images of a batch are all wide, or all not wide, so that little
            is padded.
        seed: of order and augmentation; by default the processes draw one together.
    """
    world = comm.get_world_size()
    if total_batch_size % world or total_batch_size < world:
        raise UserError(
            f"dataloader.train.total_batch_size={total_batch_size} cannot be shared evenly by "
            f"{world} processes: choose a multiple of {world}."
        )
    wide = [False] * len(dataset)
    if aspect_ratio_grouping:
        wide = [item["width"] > item["height"] for item in dataset]
    seed = comm.shared_random_seed() if seed is None else seed
    return TrainLoader(dataset, mapper, wide, total_batch_size, num_workers, int(seed))


class TrainLoader:
    """Iterating starts behind the ``batches`` that were given out before.

    ``state_dict`` tells how many those are, not counting what workers have loaded ahead.
    """

    def __init__(
        self,
        dataset: Sequence[dict[str, Any]],
        mapper: Callable[[dict[str, Any]], Any | None],
        wide: Sequence[bool],
        total_batch_size: int,
        num_workers: int,
        seed: int,
    ):
        self.dataset = DatasetFromList(list(dataset))  # in memory that the workers share
        self.mapper = mapper
        self.wide = wide
        self.total_batch_size = total_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.batches = 0

    def __iter__(self) -> Iterator[list[Any]]:
        batch_size = self.total_batch_size // comm.get_world_size()
        loader = DataLoader(
            _Samples(self.dataset, self.mapper, self.seed),
            batch_sampler=_Batches(self.wide, batch_size, self.seed, self.batches),
            num_workers=self.num_workers,
            collate_fn=list,
            worker_init_fn=_leave_process_group,
            timeout=TIMEOUT_SECONDS if self.num_workers else 0,
            generator=torch.Generator(),  # the workers' seeds are not drawn from the model's stream
        )
        for batch in loader:
            self.batches += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Seed, and images given out by all processes together."""
        return {"seed": self.seed, "samples": self.batches * self.total_batch_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on behind those images; takes effect where iterating begins."""
        self.seed = state["seed"]
        self.batches = state["samples"] // self.total_batch_size


def _leave_process_group(worker_id: int) -> None:
    # Ctrl-C, and SIGTERM to the group, would end the workers in the middle of an iteration, which
    # the process that trains finishes before it saves. When that one ends, they notice by themselves.
    os.setsid()


class _Batches(Sampler[list[tuple[int, int]]]):
    """Batches of (position in the stream of all processes, index in the data set), without end."""

    def __init__(self, wide: Sequence[bool], batch_size: int, seed: int, start: int):
        self.wide = wide
        self.batch_size = batch_size
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        # From the beginning every time: a replay of millions of indices takes seconds, and what
        # waits in the two groups is then right as well.
        return islice(self._from_the_beginning(), self.start, None)

    def _from_the_beginning(self) -> Iterator[list[tuple[int, int]]]:
        rank, world = comm.get_rank(), comm.get_world_size()
        groups: tuple[list, list] = ([], [])
        for place, index in enumerate(TrainingSampler(len(self.wide), seed=self.seed)):
            group = groups[self.wide[index]]
            group.append((place * world + rank, index))
            if len(group) == self.batch_size:
                yield group[:]
                group.clear()


class _Samples(Dataset):
    """Mapped samples by (position, index)."""

    def __init__(self, dataset: Dataset, mapper: Callable[[Any], Any | None], seed: int):
        self.dataset = dataset
        self.mapper = mapper
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Any:
        position, index = key
        with randomness.seeded(self.seed, position):
            for _ in range(MAX_TRIES):
                sample = self.mapper(self.dataset[index])
                if sample is not None:
                    return sample
                index = np.random.randint(len(self.dataset))
        raise UserError(
            f"{MAX_TRIES} images in a row cannot be used for training (the mapper returned None)."
        )
