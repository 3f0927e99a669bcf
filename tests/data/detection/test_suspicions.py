"""What is allowed and most likely not meant is said in one line; ordinary files warn of nothing."""

import logging

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from mvit_det.data.detection.coco import coco_dataset
from mvit_det.data.synthetic.shapes import generate_shapes

NAME = "suspicious"


@pytest.fixture(autouse=True)
def forget():
    """Unregister the data set of a test."""
    yield
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog.list():
            catalog.remove(NAME)


def corners(coco):
    for annotation in coco["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x, y, x + w, y + h]


def shares(coco):
    for annotation in coco["annotations"]:
        annotation["bbox"] = (np.array(annotation["bbox"]) / [64, 48, 64, 48]).tolist()


def crowds(count):
    def change(coco):
        for annotation in coco["annotations"][:count]:
            annotation["iscrowd"] = 1

    return change


def parent(coco):
    coco["categories"].insert(0, dict(id=0, name="fruits"))


def again(coco):
    coco["images"].append(dict(coco["images"][0], id=99))


def twins(coco):
    coco["categories"][0]["name"] = "date"


def crowded(coco):
    first = coco["annotations"][0]
    coco["annotations"] += [dict(first, id=100 + k) for k in range(120)]


SUSPICIOUS = {
    corners: "12 of 24 boxes reach beyond their pictures, and all look like x1, y1, x2, y2",
    shares: "all 24 boxes lie within 0 and 1 and look like shares of the picture: write pixels",
    crowds(12): "12 of 24 annotations have iscrowd=1, so that they are neither trained nor counted",
    parent: "no annotation has the class fruits (Roboflow adds such a parent class)",
    again: "1 pictures are listed under several ids, such as '001.png' (ids 1, 99)",
    twins: "several categories are named 'date' (ids 7, 3)",
    crowded: "1 pictures have more objects than the 100 detections that the model returns (image 1 "
    "has 122): set model.max_detections=122",
}


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("change", SUSPICIOUS)
def test_what_is_suspicious_is_one_line(toy, caplog, change):
    change(toy.coco)
    coco_dataset(NAME, *toy.arguments())
    (said,) = warnings(caplog)
    assert f"toy.json: {SUSPICIOUS[change]}" in said and "\n" not in said and said.endswith(".")


def test_nothing_but_crowds(toy, caplog):
    crowds(24)(toy.coco)
    coco_dataset(NAME, *toy.arguments(), filter_empty=False)
    assert "24 of 24 annotations have iscrowd=1" in caplog.text


def test_a_larger_limit_is_followed(toy, caplog):
    crowded(toy.coco)
    coco_dataset(NAME, *toy.arguments(), max_detections=122)
    assert not warnings(caplog)


def test_classes_of_one_split(toy, caplog):
    train = toy.write()
    toy.json_file = toy.json_file.with_name("val.json")
    toy.annotations[:] = [a for a in toy.annotations if a["category_id"] == 3]
    coco_dataset(NAME, *toy.arguments(), filter_empty=False, same_classes_as=train)
    coco_dataset(NAME, train, str(toy.root), same_classes_as=toy.write(), filter_empty=False)
    tested, trained = warnings(caplog)
    assert "val.json: classes occur in one split only: fig are in the training data alone" in tested
    assert "toy.json: classes occur in one split only: fig are not in the training data" in trained


def test_shapes_warn_of_nothing(tmp_path, caplog):
    generate_shapes(tmp_path / "shapes", 12, image_size=96, object_size=(20, 50))
    folder = tmp_path / "shapes"
    coco_dataset(NAME, folder / "annotations.json", folder / "images")
    assert not warnings(caplog)
