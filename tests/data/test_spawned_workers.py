"""Workers that are new interpreters, as on Windows and macOS, instead of forks."""

import logging
import multiprocessing

import pytest
from detectron2.data import build_detection_test_loader
from shipped_configs import shipped_config
from torch.utils._pytree import tree_leaves

from mvit_det import workers
from mvit_det.data import build_train_loader
from mvit_det.data.image_files import PictureFormat, current_pictures, use_pictures
from mvit_det.engine import apply_overrides
from mvit_det.engine.guarded_test import with_named_mapper
from mvit_det.engine.train import train_loader
from mvit_det.engine.trainer import WatchedLoader
from mvit_det.errors import UserError
from mvit_det.train import _log_to


@pytest.fixture
def spawned():
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


def flat(batch) -> list:
    """List what a batch holds; the fields of `Instances` as tensors."""
    if isinstance(batch, list) and "instances" in batch[0]:
        fields = [sample.pop("instances").get_fields() for sample in batch]
        batch += [f["gt_boxes"].tensor for f in fields] + [f["gt_classes"] for f in fields]
    return [leaf.tolist() if hasattr(leaf, "tolist") else leaf for leaf in tree_leaves(batch)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "_classification", "_video", "_actions"])
def test_they_load_the_batches_of_one_process(name, spawned, datasets_folder):
    batches = []
    for count in (0, 1):
        sizes = ("num_train=10", "num_val=10")
        overrides = [f"dataloader.{s}.dataset.{n}" for s in ("train", "test") for n in sizes]
        overrides += [
            f"dataloader.train.num_workers={count}",
            "dataloader.train.total_batch_size=2",
        ]
        overrides += ["dataloader.train.seed=1"]
        cfg = apply_overrides(shipped_config(f"quickstart{name}"), overrides)
        batches.append(flat(next(iter(train_loader(cfg, 1)))))
    assert batches[0] == batches[1]


def tell(item: dict) -> dict:
    logging.getLogger("mvit_det.data").warning("item %d is read", item["index"])
    return dict(item, pictures=current_pictures())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "test"])
def test_they_have_the_settings_and_the_log_of_their_process(kind, spawned, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_settings", {})
    monkeypatch.setattr(logging.getLogger("mvit_det"), "handlers", [])
    pictures = PictureFormat(value_range=(0, 1000))
    workers.set_everywhere(use_pictures, pictures)
    workers.set_everywhere(_log_to, str(tmp_path), 0)
    items = [dict(index=i, width=4, height=4) for i in range(4)]
    parts = dict(dataset=items, mapper=tell, num_workers=1)
    if kind == "train":
        loader = build_train_loader(**parts, total_batch_size=2)
    else:
        loader = build_detection_test_loader(**with_named_mapper(parts))
    batch = next(iter(loader))
    use_pictures(PictureFormat())
    assert batch[0]["pictures"] == pictures
    assert f"item {batch[0]['index']} is read" in (tmp_path / "log.txt").read_text()


def test_what_cannot_be_pickled_is_said_in_one_sentence(spawned):
    items = [dict(index=i, width=4, height=4) for i in range(4)]
    loader = build_train_loader(items, mapper=lambda item: item, total_batch_size=2, num_workers=1)
    with pytest.raises(UserError, match=r"cannot be sent to them \(.*<lambda>.*num_workers=0 of"):
        next(iter(WatchedLoader(loader)))
