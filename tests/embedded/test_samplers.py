"""Order of indices in training and testing, over several processes."""

from itertools import islice

import pytest
import torch
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils import comm


@pytest.fixture
def as_rank(monkeypatch):
    def choose(rank, world):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world)

    return choose


def test_training_stream_is_one_permutation_after_the_other():
    generator = torch.Generator().manual_seed(3)
    expected = [i for _ in range(3) for i in torch.randperm(7, generator=generator).tolist()]
    assert list(islice(TrainingSampler(7, seed=3), 21)) == expected


def test_iterating_again_starts_the_stream_again():
    sampler = TrainingSampler(5, seed=1)
    assert list(islice(sampler, 9)) == list(islice(sampler, 9))


def test_without_shuffling_in_order():
    assert list(islice(TrainingSampler(3, shuffle=False), 7)) == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_one_stream(as_rank, world):
    whole = list(islice(TrainingSampler(7, seed=5), 12 * world))
    for rank in range(world):
        as_rank(rank, world)
        assert list(islice(TrainingSampler(7, seed=5), 12)) == whole[rank::world]


@pytest.mark.parametrize("size, error", [(0, ValueError), (-3, ValueError), (2.5, TypeError)])
def test_training_refuses_sizes(size, error):
    with pytest.raises(error):
        TrainingSampler(size)


@pytest.mark.parametrize("size, world", [(7, 3), (2, 3), (9, 3), (10, 4), (5, 1)])
def test_inference_sees_each_index_once_in_order(as_rank, size, world):
    parts = []
    for rank in range(world):
        as_rank(rank, world)
        sampler = InferenceSampler(size)
        parts.append(list(sampler))
        assert len(sampler) == len(parts[-1])
    assert sum(parts, []) == list(range(size))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1 and lengths == sorted(lengths, reverse=True)
