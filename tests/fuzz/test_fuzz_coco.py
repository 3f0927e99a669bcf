"""COCO annotation and result files: training and evaluation read them, up to the model."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from coco_examples import IMAGES, RESULTS, SQUARE, TRUTH
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import strategies as st
from mutations import json_files, values
from PIL import Image

from mvit_det.data import TolerantMapper
from mvit_det.data.checks.boxes import check_boxes
from mvit_det.data.checks.findings import Finding
from mvit_det.data.detection.annotations import check_coco_json
from mvit_det.data.detection.coco import coco_dataset
from mvit_det.errors import UserError
from mvit_det.evaluation.__main__ import _detections
from mvit_det.predict.coco_ids import coco_ids

# Values that are nearly those of an annotation.
NEAR = [[], {}, [[]], [{}], [1, 2, 3, 4], [1, 2, "3", 4], [[1, 2, 3, 4, 5, 6]], ["a"], SQUARE]
NEAR += [[[1e9, 0, -1e9, 5, 3, 3]], [[None] * 6], {"id": 1}, {"1": {"id": 1}}, [5, 5, -20, 20]]
NEAR += [[5, 5, float("nan"), 20], [[1e308, -1e308] * 3], {"counts": "", "size": [4]}]
NEAR += [{"counts": counts, "size": [48, 64]} for counts in ("garbage!!", "zzz", [3, 4], [-1, 9])]
NEAR += [{"counts": [True, 48 * 64 - 1], "size": [48, 64]}, {"counts": 5, "size": 3}]
NEAR += [{"counts": [2**62, 2**62, 5], "size": [48, 64]}, {"counts": [9], "size": [2**31, 2**31]}]
VALUES = values | st.sampled_from(NEAR)


COMPANION = dict(
    images=[dict(image, annotated=True) for image in IMAGES], categories=TRUTH["categories"]
)
FILES = {"truth.json": TRUTH, "results.json": RESULTS, "images.json": COMPANION}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Yield a folder with pictures and sound files."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    for image in IMAGES:
        Image.new("RGB", (64, 48)).save(tmp_path / image["file_name"])
    for name, content in FILES.items():
        (tmp_path / name).write_text(json.dumps(content))
    yield tmp_path
    for name in ("fuzz_train", "fuzz_val"):
        for catalog in (DatasetCatalog, MetadataCatalog):
            if name in catalog.list():
                catalog.remove(name)


def train(folder: Path) -> None:
    mapping = dict(augmentations=[], image_format="RGB", use_instance_mask=True)
    mapper = TolerantMapper(True, instance_mask_format="bitmask", **mapping)
    for split, more in (("train", {}), ("val", dict(filter_empty=False))):
        dicts = coco_dataset(
            f"fuzz_{split}", folder / "truth.json", folder, max_bad_share=0.8, **more
        )
    for item in dicts:
        sample = mapper(item)
        if sample is not None:
            assert np.isfinite(sample["instances"].gt_boxes.tensor.numpy()).all()


def evaluate(folder: Path) -> None:
    paths = dict(ground_truth=folder / "truth.json", results=folder / "results.json")
    numbers = _detections(SimpleNamespace(**paths, max_detections=None), None)
    assert not any(math.isinf(task["AP50"]) for task in numbers.values())


def take_ids(folder: Path) -> None:
    pictures = [folder / image["file_name"] for image in IMAGES]
    coco_ids(str(folder / "truth.json"), pictures, TRUTH["categories"])


def check(folder: Path) -> None:
    """What a training refuses is among the findings of a check, and nothing else is refused."""
    path, refused, unusable, findings = folder / "truth.json", "", "", []
    try:
        check_coco_json(path)
    except UserError as error:
        refused = str(error)
    try:
        node = {"json_file": str(path), "image_root": str(folder)}
        for each in check_boxes(node, None, lambda width, height: (1.0, 1.0)):
            findings += [each] if isinstance(each, Finding) else each.run().findings
    except UserError as error:
        unusable = str(error)  # as a whole
    json.dumps([finding.ids for finding in findings])
    sentences = [f"{x.file}: {x.message}." for x in findings if x.kind == "annotation format"]
    if refused:
        assert unusable or refused in sentences
        raise UserError(refused)
    assert not sentences and (not unusable or "Image folder" in unusable), sentences


@pytest.mark.parametrize(
    "read, name",
    [
        (train, "truth.json"),
        (evaluate, "truth.json"),
        (check, "truth.json"),
        (take_ids, "truth.json"),
        (evaluate, "results.json"),
        (evaluate, "images.json"),
    ],
)
def test_coco_files(read, name, fuzz, folder):
    def read_file(data):
        (folder / name).write_bytes(data)
        read(folder)

    fuzz(json.dumps(FILES[name]).encode(), json_files(FILES[name], VALUES), read_file, short=60)
