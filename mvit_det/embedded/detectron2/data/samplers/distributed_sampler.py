"""Samplers that distribute a data set over the processes of a distributed run."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch.utils.data import Sampler

from detectron2.utils import comm


class TrainingSampler(Sampler[int]):
    """Stream indices 0..size-1 endlessly, in a new permutation (or in order) each epoch.

    All processes draw the same stream, and each takes every world-size-th index, so that together
    they load each image once per epoch. ``seed=None``: the processes agree on a random one.

    Raises:
        TypeError: ``size`` is not an integer.
        ValueError: ``size`` is not positive.
    """

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None):
        if not isinstance(size, int):
            raise TypeError(f"TrainingSampler needs an integer size, got {size!r}.")
        if size <= 0:
            raise ValueError(f"TrainingSampler needs at least one item, got size={size}.")
        self._size, self._shuffle = size, shuffle
        self._seed = comm.shared_random_seed() if seed is None else int(seed)
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        return islice(self._stream(), self._rank, None, self._world_size)

    def _stream(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            if self._shuffle:
                yield from torch.randperm(self._size, generator=generator).tolist()
            else:
                yield from range(self._size)


class InferenceSampler(Sampler[int]):
    """Yield each index once: a contiguous part per process, longer by one in the first processes.

    Raises:
        AssertionError: ``size`` is not positive.
    """

    def __init__(self, size: int):
        assert size > 0, f"InferenceSampler needs at least one item, got size={size}."
        rank, world = comm.get_rank(), comm.get_world_size()
        share, longer = divmod(size, world)
        start = rank * share + min(rank, longer)
        self._local_indices = range(start, start + share + (rank < longer))

    def __iter__(self) -> Iterator[int]:
        return iter(self._local_indices)

    def __len__(self) -> int:
        return len(self._local_indices)
