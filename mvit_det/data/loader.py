"""Training batches whose order and augmentation depend only on the seed and the position.

Detectron2's loader draws augmentations from generators that live as long as its workers. Here each
sample is seeded by the run's seed and its position in the stream of samples: a run that is stopped
and resumed gets the batches of an uninterrupted run, with any number of workers. Random numbers of
a whole batch (mixup) are seeded by the position of its first sample.
"""

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from mvit_det import randomness
from mvit_det.errors import UserError, check_count
from mvit_det.workers import Settings, end_with_process

if sys.platform != "win32":
    import resource

MAX_TRIES = 1000
_WHOLE_BATCH = 1  # makes the seed of a batch differ from that of its first sample


def build_train_loader(
    dataset: Sequence[dict[str, Any]],
    *,
    mapper: Callable[[dict[str, Any]], Any | None],
    total_batch_size: int,
    num_workers: int = 0,
    aspect_ratio_grouping: bool = True,
    collate: Callable[[list[Any]], Any] | None = None,
    repeats: int = 1,
    seed: int | None = None,
) -> "TrainLoader":
    """Build an endless loader of training batches; each process loads its share.

    Args:
        dataset: dataset dicts, with "width" and "height" in pixels for grouping. A list is packed
            into memory that workers share; a `torch.utils.data.Dataset` is used unchanged.
        mapper: makes a sample from a dataset dict; if it returns None, another item is taken.
        total_batch_size: images or clips per batch over all processes, which share it evenly.
        num_workers: loading processes per training process; 0: load in the training process.
        aspect_ratio_grouping: the images of a batch are all landscape or none is, for little
            padding. Not used with ``collate``, which needs samples of one size.
        collate: makes a batch from a list of samples; None: the list itself is the batch.
        repeats: samples of each image or clip, read once and augmented differently, side by side in
            one batch (Hoffer et al., CVPR 2020). A batch then has ``repeats`` times as many
            samples, as in the released code. More than 1 needs a mapper with `repeated`, such as
            `ImageMapper`. `Mixup` pairs sample i with sample B - 1 - i, of another image; only if a
            process has an odd number of images, the middle one is mixed with its repeat, as in
            PySlowFast.
        seed: of order and augmentation; None: the processes draw one together.

    Raises:
        UserError: the batch cannot be shared evenly, or the mapper does not support ``repeats``.
    """
    world = comm.get_world_size()
    if total_batch_size % world or total_batch_size < world:
        raise UserError(
            f"dataloader.train.total_batch_size={total_batch_size} cannot be shared evenly by "
            f"{world} process(es): choose a multiple of {world} above 0."
        )
    check_count("dataloader.train", repeats=repeats)
    if repeats > 1 and not hasattr(mapper, "repeated"):
        raise UserError(
            f"dataloader.train.repeats={repeats} needs an ImageMapper or ClipMapper, and this is a "
            f"{type(mapper).__name__}: set it to 1."
        )
    landscape = None
    if aspect_ratio_grouping and collate is None:
        landscape = [item["width"] > item["height"] for item in dataset]
    seed = comm.shared_random_seed() if seed is None else seed
    items: Any = dataset
    if not isinstance(dataset, Dataset):
        items = PackedItems(dataset)
    # a batch of images is about five tensors for each, and of clips a few for all
    _allow_files(num_workers, 5 * total_batch_size // world if collate is None else 16)
    samples, collate = _Samples(items, mapper, repeats), collate or list
    return TrainLoader(samples, collate, landscape, total_batch_size, num_workers, int(seed))


def _allow_files(num_workers: int, tensors: int) -> None:
    """Allow this process the files that loading needs, as far as the system does.

    Args:
        num_workers: each holds two batches ready, besides those in use.
        tensors: in a batch; each is an open file while it is in shared memory.

    Raises:
        UserError: the system allows fewer files.
    """
    if sys.platform != "win32":  # which has no such limit
        needed = 128 + (num_workers + 1) * (8 + 2 * tensors) if num_workers else 0
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise UserError(
                f"Loading with {num_workers} workers needs about {needed} open files and the "
                f"system allows {hard}: raise the limit with ulimit -n {needed}, or lower "
                "dataloader.train.num_workers or dataloader.train.total_batch_size."
            )
        if soft != resource.RLIM_INFINITY and soft < needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class PackedItems(Dataset):
    """Serve copies of N items from one array, whose memory worker processes share.

    A list of objects would be copied in each worker, because reference counts change. Detectron2's
    `DatasetFromList` does the same, and needs twice the array's memory while it packs.
    """

    def __init__(self, items: Iterable[Any]):
        packed, ends = bytearray(), []
        for item in items:
            packed += pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL)
            ends.append(len(packed))
        # a tensor, since its memory is shared with new interpreters as well
        self._bytes = torch.frombuffer(packed or bytearray(1), dtype=torch.uint8)
        self._ends = torch.tensor(ends, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Any:
        begin, end = int(self._ends[index - 1]) if index else 0, int(self._ends[index])
        return pickle.loads(self._bytes[begin:end].numpy().data)


@dataclass
class TrainLoader:
    """Endless iterable of training batches, built by `build_train_loader`.

    Attributes:
        batches: number of batches yielded, those loaded ahead by workers not included; iteration
            starts after that many batches.
    """

    samples: "_Samples"
    collate: Callable[[list[Any]], Any]
    landscape: Sequence[bool] | None
    total_batch_size: int
    num_workers: int
    seed: int
    batches: int = 0

    def __iter__(self) -> Iterator[Any]:
        batch_size = self.total_batch_size // comm.get_world_size()
        order = len(self.samples), batch_size, self.seed, self.batches
        loader = DataLoader(
            _Batches(self.samples, self.collate, self.seed),
            sampler=_Plain(*order) if self.landscape is None else _ByShape(*order, self.landscape),
            batch_size=None,  # the sampler yields whole batches
            collate_fn=_identity,
            num_workers=self.num_workers,
            worker_init_fn=_leave_process_group,
            # stacked tensors go to the GPU while it computes; lists of images are small
            pin_memory=self.collate is not list and torch.cuda.is_available(),
            generator=torch.Generator(),  # the workers' seeds are not drawn from the model's stream
        )
        for batch in end_with_process(loader):
            self.batches += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the seed, and the number of images yielded by all processes together."""
        return {"seed": self.seed, "samples": self.batches * self.total_batch_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the images of a `state_dict`; takes effect when iteration starts."""
        self.seed = state["seed"]
        self.batches = state["samples"] // self.total_batch_size


def _leave_process_group(worker_id: int) -> None:
    # Ctrl-C, or SIGTERM to the group, would end the workers during an iteration that the training
    # process finishes before it saves.
    if sys.platform == "win32":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    else:
        os.setsid()


def _identity(batch: Any) -> Any:
    return batch


# A batch before it is loaded: (position in the stream of all processes, index in the data set).
Keys = list[tuple[int, int]]


@dataclass
class _Order(Sampler[Keys]):
    """Endless batches of a data set of ``size`` items, from batch ``start`` on."""

    size: int
    batch_size: int
    seed: int
    start: int


@dataclass
class _ByShape(_Order):
    """Batches of images that are all landscape, or none is."""

    landscape: Sequence[bool]

    def __iter__(self) -> Iterator[Keys]:
        # Always from the beginning: replaying millions of indices takes seconds, and it restores
        # the images that wait in the two groups.
        return islice(self._from_the_beginning(), self.start, None)

    def _from_the_beginning(self) -> Iterator[Keys]:
        rank, world = comm.get_rank(), comm.get_world_size()
        groups: tuple[list, list] = ([], [])
        for place, index in enumerate(TrainingSampler(self.size, seed=self.seed)):
            group = groups[self.landscape[index]]
            group.append((place * world + rank, index))
            if len(group) == self.batch_size:
                yield group[:]
                group.clear()


class _Plain(_Order):
    """Batches in the order of Detectron2's `TrainingSampler`.

    Whole epochs are drawn at once, so that a resumed run does not replay a billion indices singly.
    """

    def __iter__(self) -> Iterator[Keys]:
        rank, world = comm.get_rank(), comm.get_world_size()
        first = self.start * self.batch_size * world + rank  # position of this process's next image
        generator = torch.Generator().manual_seed(self.seed)
        rest = np.empty((0, 2), dtype=np.int64)  # too few for a batch so far
        for epoch in count():
            order = torch.randperm(self.size, generator=generator).numpy()
            begin = epoch * self.size
            # The processes take turns in the stream, which continues across epochs.
            mine = range(max(first, begin + (rank - begin) % world), begin + self.size, world)
            if not mine:
                continue
            positions = np.arange(mine.start, mine.stop, mine.step)
            rest = np.concatenate([rest, np.stack([positions, order[positions - begin]], axis=1)])
            whole = len(rest) - len(rest) % self.batch_size
            for at in range(0, whole, self.batch_size):
                yield [(place, index) for place, index in rest[at : at + self.batch_size].tolist()]
            rest = rest[whole:]


@dataclass
class _Samples:
    """Lists of mapped samples by index."""

    dataset: Sequence[dict[str, Any]]
    mapper: Any  # callable, and with `repeated` if ``repeats`` is above 1
    repeats: int

    def __len__(self) -> int:
        return len(self.dataset)

    def get(self, index: int) -> list[Any]:
        """Return all samples of an item, or of a random other one if the mapper returns None."""
        for _ in range(MAX_TRIES):
            item = self.dataset[index]
            if self.repeats > 1:
                samples = self.mapper.repeated(item, self.repeats)
            else:
                samples = [self.mapper(item)]
            if samples is not None and samples[0] is not None:
                return samples
            index = np.random.randint(len(self.dataset))
        raise UserError(
            f"{MAX_TRIES} items in a row cannot be used for training (the mapper returned None)."
        )


@dataclass
class _Batches(Dataset):
    """Batches by their `Keys`; each sample has a separate seed."""

    samples: _Samples
    collate: Callable[[list[Any]], Any]
    seed: int
    settings: Settings = field(default_factory=Settings)

    def __getitem__(self, keys: Keys) -> Any:
        batch = []
        for position, index in keys:
            with randomness.seeded(self.seed, position):
                batch += self.samples.get(index)
        with randomness.seeded(self.seed, keys[0][0], _WHOLE_BATCH):
            return self.collate(batch)
