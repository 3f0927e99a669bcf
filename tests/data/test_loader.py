"""Order and augmentation follow from seed and position alone."""

import random

import numpy as np
import pytest
import torch
from detectron2.utils import comm

from mvit_det.data import build_train_loader
from mvit_det.errors import UserError


def items(count: int) -> list[dict]:
    """Every third is wide."""
    return [dict(index=i, width=9 if i % 3 == 0 else 4, height=5) for i in range(count)]


def drawing(item: dict) -> dict:
    return dict(item, drawn=(random.random(), np.random.rand(), torch.rand(1).item()))


class Skipping:
    """A mapper that cannot use some images."""

    def __init__(self, bad: set[int]):
        self.bad = bad

    def __call__(self, item: dict) -> dict | None:
        return None if item["index"] in self.bad else drawing(item)


def first(loader, count: int) -> list[list[dict]]:
    stream = iter(loader)
    taken = [next(stream) for _ in range(count)]
    stream.close()
    return taken


def build(count=10, mapper=drawing, total_batch_size=4, **options):
    options.setdefault("seed", 5)
    return build_train_loader(
        items(count), mapper=mapper, total_batch_size=total_batch_size, **options
    )


def test_an_epoch_has_each_image_once():
    batches = first(build(12, total_batch_size=3, aspect_ratio_grouping=False), 8)
    for epoch in (batches[:4], batches[4:]):
        assert sorted(item["index"] for batch in epoch for item in batch) == list(range(12))


def test_a_batch_is_all_wide_or_all_not():
    batches = first(build(), 30)
    kinds = [{item["width"] > item["height"] for item in batch} for batch in batches]
    assert all(len(kind) == 1 for kind in kinds) and {True} in kinds and {False} in kinds


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(workers):
    assert first(build(num_workers=workers), 12) == first(build(), 12)


def test_other_seeds_draw_otherwise():
    assert first(build(seed=5), 3) != first(build(seed=6), 3)
    drawn = [item["drawn"] for batch in first(build(), 12) for item in batch]
    assert len(set(drawn)) == len(drawn)  # the same image too is augmented anew in each epoch


@pytest.mark.parametrize("workers", [0, 2])
def test_it_goes_on_where_a_saved_state_was(workers):
    whole = first(build(num_workers=workers), 15)
    loader = build(num_workers=workers)
    first(loader, 6)
    state = loader.state_dict()
    assert state == {"seed": 5, "samples": 24}
    other = build(num_workers=2 - workers, seed=99)
    other.load_state_dict(state)
    assert first(other, 9) == whole[6:]


def test_the_process_that_trains_draws_as_if_there_were_no_loader():
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    first(build(num_workers=0), 3)
    first(build(num_workers=1), 3)
    assert (torch.rand(1), np.random.rand(), random.random()) == expected


def test_processes_share_a_batch_as_one_process_would_see_it(monkeypatch):
    """With images of one shape; else the processes group them by themselves."""
    alone = first(build(aspect_ratio_grouping=False), 6)
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        shares.append(first(build(aspect_ratio_grouping=False), 6))
    for whole, left, right in zip(alone, *shares):
        assert len(left) == len(right) == 2
        assert sorted(map(str, whole)) == sorted(map(str, left + right))


def test_unusable_images_are_replaced_the_same_way_every_time():
    bad = Skipping({0, 4, 7})
    batches = first(build(mapper=bad, num_workers=2), 10)
    seen = {item["index"] for batch in batches for item in batch}
    assert seen == set(range(10)) - bad.bad
    assert batches == first(build(mapper=bad), 10)


def test_nothing_usable_at_all():
    with pytest.raises(UserError, match="1000 images in a row cannot be used"):
        first(build(mapper=Skipping(set(range(10)))), 1)


def test_a_batch_that_cannot_be_shared(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 8)
    with pytest.raises(UserError, match="total_batch_size=4 .* 8 processes: .* multiple of 8"):
        build()
