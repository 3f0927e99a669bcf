"""A run parses each annotation file once, and nothing changes the parsed content."""

import builtins
import gc
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from PIL import Image
from pycocotools import mask as coco_mask

from mvit_det import files
from mvit_det.ava_files import read_boxes
from mvit_det.data import coco_dataset
from mvit_det.data.detection.annotations import read_coco_json
from mvit_det.data.synthetic.moving_figures import generate_moving_figures
from mvit_det.data.synthetic.shapes import generate_shapes
from mvit_det.engine import do_train

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
import train_net  # noqa: E402  the script, as a module

COMMON = [
    *("train.device=cpu", "train.max_iter=1", "train.eval_period=1", "train.init_checkpoint="),
    *("dataloader.train.num_workers=0", "dataloader.test.num_workers=0"),
    "dataloader.train.total_batch_size=1",
]
DETECTOR = [
    "model.backbone.bottom_up.embed_dim=8",
    "model.backbone.out_channels=16",
    "model.roi_heads.box_head.fc_dims=[16,16]",
    "model.roi_heads.mask_head.conv_dims=[16,16]",
]
ACTIONS = [
    "model.backbone.input_size=[4,32,32]",
    "model.backbone.embed_dim=8",
    "model.backbone.last_block_indexes=[0,1,2,3]",
    "dataloader.train.mapper.transform.short_side=[34,40]",
]


@pytest.fixture
def parses(monkeypatch) -> Counter:
    """How often a JSON was parsed, and a csv opened to be read, by name and folder."""
    counts: Counter = Counter()
    load, opened = json.load, builtins.open

    def counted_load(file, *more, **options):
        counts[Path(file.name).parent.name, Path(file.name).name] += 1
        return load(file, *more, **options)

    def counted_open(path, mode="r", *more, **options):
        # the first bytes are looked at before, as bytes
        if str(path).endswith(".csv") and mode == "r":
            counts[Path(path).parent.name, Path(path).name] += 1
        return opened(path, mode, *more, **options)

    monkeypatch.setattr(json, "load", counted_load)
    monkeypatch.setattr(builtins, "open", counted_open)
    return counts


def settle(folder: Path) -> None:
    """Let the files be some seconds old, as those of users are."""
    for path in folder.rglob("*.*"):
        os.utime(path, (time.time() - 10, time.time() - 10))


def train(config: str, *words: str) -> None:
    line = ["--config-file", str(ROOT / "configs" / config), *words, *COMMON]
    train_net.main(train_net.argument_parser().parse_args(line))


@pytest.mark.parametrize("large", [False, True])
def test_a_run_parses_each_coco_file_once(tmp_path, parses, quick_pictures, monkeypatch, large):
    if large:  # than what is kept after the start, when an evaluation would read it again
        monkeypatch.setattr(files, "KEPT_BYTES", 0)
        monkeypatch.setitem(do_train.__globals__, "guarded_test", lambda *_: ({}, []))
    flags = []
    for split, count in (("train", 2), ("val", 3)):
        generate_shapes(tmp_path / split, count, seed=count, image_size=96, object_size=(20, 50))
        flags += [f"--{split}-json", str(tmp_path / split / "annotations.json")]
        flags += [f"--{split}-images", str(tmp_path / split / "images")]
    settle(tmp_path)
    before = {
        split: (tmp_path / split / "annotations.json").read_text() for split in ("train", "val")
    }
    train("mask_rcnn_mvitv2_t_3x.py", *flags, *DETECTOR, f"train.output_dir={tmp_path / 'out'}")
    found = {key: n for key, n in parses.items() if key[1] == "annotations.json"}
    assert found == {("train", "annotations.json"): 1, ("val", "annotations.json"): 1}
    assert gc.isenabled() and bool(files._cache) != large  # it is freed
    for split, text in before.items():  # and nobody has changed what all share
        assert read_coco_json(tmp_path / split / "annotations.json") == json.loads(text)


def test_a_run_parses_each_csv_once(tmp_path, parses, quick_pictures):
    flags = ["--label-map", str(tmp_path / "train" / "label_map.pbtxt")]
    for split in ("train", "val"):
        generate_moving_figures(tmp_path / split, 2, 3, 3, 128, split == "train")
        flags += [f"--{split}-videos", str(tmp_path / split / "videos")]
        for kind in ("actions", "proposals"):
            flags += [f"--{split}-{kind}", str(tmp_path / split / f"{kind}.csv")]
    settle(tmp_path)
    ava = "ava/mvitv2_s_16x4_k400_ava.py"
    train(ava, *flags, *ACTIONS, f"train.output_dir={tmp_path / 'out'}")
    names = [
        (split, f"{kind}.csv") for split in ("train", "val") for kind in ("actions", "proposals")
    ]
    assert {key: n for key, n in parses.items() if key in names} == dict.fromkeys(names, 1)
    table = read_boxes(str(tmp_path / "val" / "actions.csv"), "actions")
    with pytest.raises(ValueError, match="read-only"):
        table.box[0] = 0


def test_what_is_read_again(tmp_path, monkeypatch):
    reads = []

    @files.parsed_once
    def read(path, kind="a"):
        reads.append((Path(path).name, kind))
        return Path(path).read_text()

    def write(name: str, text: str, age: float) -> str:
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (time.time() - age,) * 2)
        return str(tmp_path / name)

    path = write("x", "one", age=10)
    monkeypatch.chdir(tmp_path)
    assert read(path) == read("x") == "one" and len(reads) == 1
    assert read(path, "b") == "one" and len(reads) == 2  # read in another way
    write("x", "two", age=9)
    assert read(path) == "two" and len(reads) == 3  # of the same size
    young = write("y", "one", age=0)
    assert read(young) == read(young) == "one" and len(reads) == 5
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "z"))
    # no more than so many bytes are kept, the last ones
    monkeypatch.setattr(files, "KEPT_BYTES", 7)
    paths = [write(name, name * 3, age=10) for name in "pqr"]
    del reads[:]
    for each in (*paths, paths[1], paths[2], paths[0]):
        read(each)
    assert [name for name, _ in reads] == ["p", "q", "r", "p"]
    large = write("large", "x" * 8, age=10)
    read(large), read(large), read(paths[0])
    assert [name for name, _ in reads[4:]] == ["large", "large"]


def test_dataset_dicts_are_those_of_detectron2(tmp_path):
    """Polygons, a valid one beside one that is not, RLE of both kinds, a crowd; keypoints too."""
    rng = np.random.default_rng(0)
    images = [
        dict(id=number, file_name=f"{number}.jpg", height=8, width=10) for number in (7, 3, 5)
    ]
    polygons = [[1.0, 1.0, 4.0, 1.0, 4.0, 5.0], [2.5, 2.0, 6.0, 2.0, 6.0, 6.0, 2.5, 6.0]]
    plain = dict(size=[8, 10], counts=[11, 4, 65])
    packed = {**coco_mask.frPyObjects(plain, 8, 10)}
    packed["counts"] = packed["counts"].decode()
    masks = [polygons, [polygons[0], [1, 2]], plain, polygons[1:], packed]
    annotations = [
        dict(id=10 + n, image_id=(7, 3)[n % 2], category_id=(9, 2)[n % 2], area=4.0, iscrowd=n == 3,
             bbox=rng.uniform(0, 4, 4).tolist(), segmentation=mask, note="not taken")
        for n, mask in enumerate(masks)
    ]  # fmt: skip
    annotations[0]["keypoints"] = [1, 2, 2, 3, 4, 0]
    categories = [dict(id=9, name="b", supercategory="x"), dict(id=2, name="a")]
    path = tmp_path / "some.json"
    coco = dict(images=images, annotations=annotations, categories=categories)
    path.write_text(json.dumps(coco))
    for image in images:
        Image.new("RGB", (10, 8)).save(tmp_path / image["file_name"])
    coco_dataset("parsed_ours", path, tmp_path)
    theirs = load_coco_json(str(path), str(tmp_path), "parsed_theirs", ["id"])
    ours = DatasetCatalog.get("parsed_ours")
    for image in ours + theirs:
        for entry in image["annotations"]:
            if "mvit_det/embedded" in load_coco_json.__code__.co_filename:
                entry.pop("keypoints", None)  # which the embedded host leaves out
    assert ours == theirs and sum(len(image["annotations"]) for image in ours) == 5
    first, second = (MetadataCatalog.get(f"parsed_{who}") for who in ("ours", "theirs"))
    for key in ("thing_classes", "thing_dataset_id_to_contiguous_id"):
        assert first.get(key) == second.get(key)
