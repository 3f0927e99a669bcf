"""Generated shapes for detection: deterministic, with exact annotations, drawn once."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from generated_files import files_below
from PIL import Image

from mvit_det.data.synthetic import shapes
from mvit_det.data.synthetic.shapes import (
    CLASSES,
    generate_shapes,
    outline,
    shapes_dataset,
)
from mvit_det.errors import UserError

SMALL = dict(num_train=6, num_val=3, image_size=96, object_size=(16, 40))


@pytest.mark.parametrize("name", CLASSES)
def test_outlines_fit_the_unit_circle_and_turn(name):
    corners = outline(name, 0.0)
    radius = np.linalg.norm(corners, axis=1)
    assert 0.9 < radius.max() <= 1 + 1e-9
    quarter = outline(name, np.pi / 2)
    assert np.allclose(quarter, corners @ np.array([[0, 1], [-1, 0]]))
    assert cv2.contourArea(corners.astype(np.float32)) > 0.9  # no self-crossing, not degenerate


def test_same_seed_gives_the_same_bytes(tmp_path):
    arguments = dict(image_size=96, object_size=(16, 40))
    generate_shapes(tmp_path / "a", 4, seed=3, **arguments)
    generate_shapes(tmp_path / "b", 4, seed=3, **arguments)
    generate_shapes(tmp_path / "c", 4, seed=4, **arguments)
    generate_shapes(tmp_path / "d", 5, seed=3, **arguments)
    first = files_below(tmp_path / "a")
    assert len(first) == 5 and first == files_below(tmp_path / "b")
    assert not set(first.values()) & set(files_below(tmp_path / "c").values())
    # A larger set begins with the smaller one's pictures.
    assert first["images/00003.jpg"] == files_below(tmp_path / "d")["images/00003.jpg"]


def test_annotations_fit_the_pictures(tmp_path):
    generate_shapes(tmp_path / "set", 30, seed=0, image_size=128, object_size=(20, 60))
    coco = json.loads((tmp_path / "set" / "annotations.json").read_text())
    assert [entry["name"] for entry in coco["categories"]] == list(CLASSES)
    assert {entry["category_id"] for entry in coco["annotations"]} == {1, 2, 3, 4, 5}
    for image in coco["images"]:
        mine = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        assert 1 <= len(mine) <= 5
        with Image.open(tmp_path / "set" / "images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == (128, 128)
        taken = np.zeros((128, 128), np.uint8)
        for annotation in mine:
            polygon = np.array(annotation["segmentation"]).reshape(-1, 2)
            x, y, w, h = annotation["bbox"]
            assert np.allclose([x, y, x + w, y + h], [*polygon.min(0), *polygon.max(0)])
            assert 0 <= x and 0 <= y and x + w <= 128 and y + h <= 128
            assert 12 < max(w, h) <= 61
            area = cv2.contourArea(polygon.astype(np.float32))
            assert area == pytest.approx(annotation["area"], rel=0.1)
            # Masks cover only the visible parts: the inner parts of two never overlap.
            inner = cv2.fillPoly(np.zeros_like(taken), [polygon.round().astype(np.int32)], 1)
            inner = cv2.erode(inner, np.ones((5, 5)))
            assert not (taken & inner).any()
            taken |= inner


def test_shapes_differ_from_the_background(tmp_path):
    rng = np.random.default_rng(5)
    pixels, placed = shapes.draw_picture(rng, 128, max_objects=1, object_size=(50, 60))
    inside = cv2.fillPoly(
        np.zeros((128, 128), np.uint8), [placed[0]["outline"].astype(np.int32)], 1
    ).astype(bool)
    contrast = np.abs(pixels[inside].mean(0) - pixels[~inside].mean(0)).max()
    assert contrast > 20 and pixels[~inside].std() > 3


def test_dataset_is_drawn_once(root, monkeypatch):
    train = shapes_dataset("train", **SMALL)
    assert len(train) == 6 and (train[0]["height"], train[0]["width"]) == (96, 96)
    assert list(MetadataCatalog.get("shapes_train").thing_classes) == list(CLASSES)
    monkeypatch.setattr(shapes, "generate_shapes", None)  # not needed again
    assert shapes_dataset("train", **SMALL) == train
    val = shapes_dataset("val", **SMALL)
    assert len(val) == 3 and len({d["file_name"] for d in train + val}) == 9
    names = [Path(d["file_name"]).read_bytes() for d in train + val]
    assert len(set(names)) == 9
    assert [path.name for path in (root / "shapes").iterdir()] == [
        "v1-6+3-96px-16to40-seed0",
    ]


def test_arguments_out_of_range(root):
    with pytest.raises(UserError, match="split='test' of .* one of train, val"):
        shapes_dataset("test")
    with pytest.raises(UserError, match="image_size=32, .*smallest <= largest object < image_size"):
        shapes_dataset("train", image_size=32)
