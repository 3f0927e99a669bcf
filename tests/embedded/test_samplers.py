"""Order of indices in training and testing, over several processes, and the loaders."""

from itertools import islice

import numpy as np
import pytest
import torch
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils import comm


@pytest.fixture
def as_rank(monkeypatch):
    def choose(rank, world):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world)

    return choose


def test_training_stream_is_a_sequence_of_permutations():
    generator = torch.Generator().manual_seed(3)
    expected = [i for _ in range(3) for i in torch.randperm(7, generator=generator).tolist()]
    assert list(islice(TrainingSampler(7, seed=3), 21)) == expected


def test_each_iteration_restarts_the_stream():
    sampler = TrainingSampler(5, seed=1)
    assert list(islice(sampler, 9)) == list(islice(sampler, 9))


def test_training_stream_without_shuffling_is_in_order():
    assert list(islice(TrainingSampler(3, shuffle=False), 7)) == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_split_one_stream(as_rank, world):
    whole = list(islice(TrainingSampler(7, seed=5), 12 * world))
    for rank in range(world):
        as_rank(rank, world)
        assert list(islice(TrainingSampler(7, seed=5), 12)) == whole[rank::world]


@pytest.mark.parametrize("size, error", [(0, ValueError), (-3, ValueError), (2.5, TypeError)])
def test_training_sampler_refuses_sizes(size, error):
    with pytest.raises(error):
        TrainingSampler(size)


@pytest.mark.parametrize("size, world", [(7, 3), (2, 3), (9, 3), (10, 4), (5, 1)])
def test_inference_parts_cover_each_index_once_in_order(as_rank, size, world):
    parts = []
    for rank in range(world):
        as_rank(rank, world)
        sampler = InferenceSampler(size)
        parts.append(list(sampler))
        assert len(sampler) == len(parts[-1])
    assert sum(parts, []) == list(range(size))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1 and lengths == sorted(lengths, reverse=True)


ITEMS = [dict(number=i, width=2 + i % 2, height=2) for i in range(10)]


def random_mapper(entry):
    return dict(entry, draw=np.random.randint(10**6))


def train_loader(**options):
    usual = dict(mapper=random_mapper, sampler=TrainingSampler(10, seed=0), total_batch_size=2)
    return build_detection_train_loader(ITEMS, **usual | options)


@pytest.mark.parametrize("workers, grouping", [(0, True), (2, False)])
def test_train_loader_loads_the_images_of_the_sampler(workers, grouping):
    loader = train_loader(num_workers=workers, aspect_ratio_grouping=grouping)
    batches = list(islice(loader, 30))
    numbers = [entry["number"] for batch in batches for entry in batch]
    if grouping:
        assert all(len({entry["width"] for entry in batch}) == 1 for batch in batches)
        assert set(numbers) == set(range(10))
    else:
        assert numbers == list(islice(TrainingSampler(10, seed=0), 60))
    # Workers draw different numbers.
    assert len({entry["draw"] for batch in batches for entry in batch}) > 55


def test_test_loader_loads_each_image_once_in_order():
    loader = build_detection_test_loader(ITEMS, mapper=random_mapper, batch_size=4)
    numbers = [[entry["number"] for entry in batch] for batch in loader]
    assert numbers == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_seed_determines_the_draws_of_workers():
    def draws(seed):
        torch.manual_seed(seed)
        loader = train_loader(aspect_ratio_grouping=False, num_workers=1)
        return [entry["draw"] for batch in islice(loader, 3) for entry in batch]

    assert draws(1) == draws(1) != draws(2)


def test_batches_are_collated_and_split_evenly():
    for grouping in (False, True):
        loader = train_loader(mapper=None, aspect_ratio_grouping=grouping, collate_fn=len)
        assert list(islice(loader, 3)) == [2, 2, 2]
    with pytest.raises(AssertionError):
        train_loader(mapper=None, total_batch_size=0)
