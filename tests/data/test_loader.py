"""Order and augmentation of training batches depend only on the seed and the position."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time
import weakref
from functools import partial
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from detectron2.data import build_detection_test_loader
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm
from image_sets import LABELS, PICTURES, write_folders

from mvit_det.data import (
    ImageMapper,
    Mixup,
    StackSamples,
    build_train_loader,
    image_classes,
    train_transform,
)
from mvit_det.data import test_transform as make_test_transform
from mvit_det.errors import UserError


def items(count: int) -> list[dict]:
    """Make dataset dicts, every third of a landscape image."""
    return [dict(index=i, width=9 if i % 3 == 0 else 4, height=5) for i in range(count)]


def drawing(item: dict) -> dict:
    return dict(item, drawn=(random.random(), np.random.rand(), torch.rand(1).item()))


class Skipping:
    """A mapper that returns None for some images."""

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


def test_the_images_of_a_batch_are_all_landscape_or_none():
    batches = first(build(), 30)
    kinds = [{item["width"] > item["height"] for item in batch} for batch in batches]
    assert set(map(frozenset, kinds)) == {frozenset([True]), frozenset([False])}


def test_seeds_and_epochs_differ():
    assert first(build(seed=5), 3) != first(build(seed=6), 3)
    drawn = [item["drawn"] for batch in first(build(), 12) for item in batch]
    assert len(set(drawn)) == len(drawn)  # an image is augmented differently in each epoch


def test_batches_do_not_depend_on_workers_or_interruptions():
    whole = first(build(), 15)
    loader = build(num_workers=2)
    assert first(loader, 6) == whole[:6]
    assert loader.state_dict() == {"seed": 5, "samples": 24}  # not what workers loaded ahead
    resumed = build(seed=99)
    resumed.load_state_dict(loader.state_dict())
    assert first(resumed, 9) == whole[6:]


def test_the_loader_leaves_the_generators_of_the_training_process_alone():
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    first(build(), 3)
    assert (torch.rand(1), np.random.rand(), random.random()) == expected


def test_processes_share_the_batches_of_one_process(monkeypatch):
    """Without grouping: each process groups the images of its share."""
    whole_batches = first(build(aspect_ratio_grouping=False), 6)
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", partial(int, rank))
        shares.append(first(build(aspect_ratio_grouping=False), 6))
    for whole, left, right in zip(whole_batches, *shares):
        assert len(left) == len(right) == 2
        assert sorted(map(str, whole)) == sorted(map(str, left + right))


def test_bad_images_are_replaced_reproducibly():
    bad = Skipping({0, 4, 7})
    batches = first(build(mapper=bad), 10)
    indices = {item["index"] for batch in batches for item in batch}
    assert indices == set(range(10)) - bad.bad
    np.random.seed(1)
    assert batches == first(build(mapper=bad), 10)


def test_only_bad_images():
    with pytest.raises(UserError, match="1000 items in a row cannot be used"):
        first(build(mapper=Skipping(set(range(10)))), 1)


def test_batch_size_that_is_not_a_multiple_of_the_processes(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 8)
    with pytest.raises(UserError, match="total_batch_size=4 .* 8 process.es.: .* multiple of 8"):
        build()


# ---------------------------------------------------------------- order without grouping by shape


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("start", [0, 5, 17])
def test_order_equals_that_of_the_training_sampler_of_detectron2(monkeypatch, world, start):
    """Epochs of 10 images are no multiple of the 4 images per process, nor of 3 processes."""
    monkeypatch.setattr(comm, "get_world_size", lambda: world)
    for rank in range(world):
        monkeypatch.setattr(comm, "get_rank", partial(int, rank))
        stream = iter(TrainingSampler(10, seed=5))
        expected = [[next(stream) for _ in range(4)] for _ in range(start + 9)][start:]
        loader = build(aspect_ratio_grouping=False, total_batch_size=4 * world)
        loader.load_state_dict({"seed": 5, "samples": start * 4 * world})
        taken = [[item["index"] for item in batch] for batch in first(loader, 9)]
        assert taken == expected


class Compact(torch.utils.data.Dataset):
    """Makes items on access."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict:
        return items(10)[index]


def test_a_torch_dataset_is_not_converted_to_a_list():
    options = dict(mapper=drawing, total_batch_size=4, seed=5, aspect_ratio_grouping=False)
    compact = Compact()
    loader = build_train_loader(compact, **options)
    assert loader.samples.dataset is compact
    assert first(loader, 6) == first(build_train_loader(items(10), **options), 6)


class Noted(dict):
    """A dict that can be weakly referenced."""


def test_a_list_is_packed_into_memory_that_workers_share():
    dataset = [Noted(item, text="x" * 10_000) for item in items(50)]
    found = weakref.ref(dataset[7])
    packed = build_train_loader(dataset, mapper=drawing, total_batch_size=2).samples.dataset
    assert [packed[k] for k in range(50)] == dataset and len(packed) == 50
    del dataset
    assert found() is None
    sent = ForkingPickler.dumps(packed)  # as for a worker that is a new interpreter
    assert len(sent) < 2000 and pickle.loads(sent)[7]["text"] == "x" * 10_000


# ---------------------------------------------------------------- batches of images, mixed or not


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("set"))


def build_images(dataset, total_batch_size=3, transform=None, **options):
    options.setdefault("collate", Mixup(3))
    options.setdefault("seed", 7)
    transform = transform or train_transform((16, 24))
    return build_train_loader(
        dataset,
        mapper=ImageMapper(True, transform=transform),
        total_batch_size=total_batch_size,
        **options,
    )


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, target in zip(batches, expected):
        assert batch.keys() == target.keys() and batch["file_name"] == target["file_name"]
        assert torch.equal(batch["inputs"], target["inputs"])
        assert torch.equal(batch["labels"], target["labels"])


@pytest.mark.parametrize("repeats", [1, 2])
def test_mixed_batches_do_not_depend_on_workers_or_interruptions(pictures, repeats):
    dataset = image_classes(pictures)
    whole = first(build_images(dataset, repeats=repeats), 6)
    assert whole[0]["inputs"].shape == (3 * repeats, 3, 16, 24)
    assert whole[0]["labels"].shape == (3 * repeats, 3)
    mixes = {tuple(batch["labels"].sort().values[0].tolist()) for batch in whole}
    assert len(mixes) == 6  # each batch draws a different ratio
    loader = build_images(dataset, repeats=repeats, num_workers=2)
    assert_same(first(loader, 3), whole[:3])
    assert loader.state_dict() == {"seed": 7, "samples": 9}
    resumed = build_images(dataset, repeats=repeats, seed=1)
    resumed.load_state_dict(loader.state_dict())
    assert_same(first(resumed, 3), whole[3:])


def test_repeats_of_an_image_are_adjacent(pictures):
    loader = build_images(image_classes(pictures), 2, collate=StackSamples(), repeats=3)
    batch = first(loader, 1)[0]
    names = batch["file_name"]
    assert names[:3] == [names[0]] * 3 and names[3:] == [names[3]] * 3 and names[0] != names[3]
    labels = batch["labels"].tolist()
    assert labels == [labels[0]] * 3 + [labels[3]] * 3
    assert len({image.sum().item() for image in batch["inputs"]}) == 6
    # An epoch has each image once.
    epoch = first(build_images(image_classes(pictures), 2, collate=StackSamples(), repeats=3), 3)
    assert len({name for batch in epoch for name in batch["file_name"]}) == 6


def test_repeats_that_are_not_possible(pictures):
    with pytest.raises(UserError, match="repeats=0 of dataloader.train must be a whole number"):
        build_images(image_classes(pictures), repeats=0)
    with pytest.raises(UserError, match="repeats=2 needs an ImageMapper or ClipMapper"):
        build(repeats=2)


def test_every_image_is_tested_once_in_order(tmp_path):
    root = write_folders(tmp_path, PICTURES | {"dog/bad.jpg": b""})
    dataset = image_classes(root)
    loader = build_detection_test_loader(
        dataset=dataset,
        mapper=ImageMapper(False, transform=make_test_transform((16, 24))),
        batch_size=4,
        num_workers=0,
        collate_fn=StackSamples(),
    )
    batches = list(loader)
    assert len(loader) == 2 and [len(batch["inputs"]) for batch in batches] == [4, 3]
    labels = [label for batch in batches for label in batch["labels"].tolist()]
    assert labels == sorted([*LABELS, 1]) == dataset.labels.tolist()
    reasons = [reason for batch in batches for reason in batch["unreadable"]]
    assert [bool(reason) for reason in reasons] == [False] * 4 + [True] + [False] * 2


KILLED = """
import multiprocessing, os, signal, sys, time
import mvit_det
from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from omegaconf import OmegaConf
from mvit_det.data import build_train_loader
from mvit_det.engine.guarded_test import build_test_loader

class Large:
    def __call__(self, item):
        return dict(item, text="x" * 10**6)  # which does not fit into a pipe

images = [dict(index=i, width=4, height=5) for i in range(64)]
if sys.argv[1] == "train":
    loader = build_train_loader(images, mapper=Large(), total_batch_size=4, num_workers=2, seed=1)
else:
    test = L(build_detection_test_loader)(dataset=images, mapper=L(Large)(), num_workers=2)
    cfg = OmegaConf.create({"dataloader": {"test": test}}, flags={"allow_objects": True})
    loader = build_test_loader(cfg)
stream = iter(loader)
next(stream)
time.sleep(1)
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("kind", ["train", "test"])
def test_workers_end_with_a_killed_run_that_has_large_batches(kind, tmp_path):
    with open(tmp_path / "workers", "w") as output:  # a pipe would stay open as long as they run
        subprocess.run([sys.executable, "-c", KILLED, kind], stdout=output)
    workers = list(map(int, (tmp_path / "workers").read_text().split()))
    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while any(map(_runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.5)
    left = list(filter(_runs, workers))
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    assert not left


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
