"""COCO files: conversion to dataset dicts, faults refused or dropped, data sets by name."""

import json
import logging
import os
from copy import deepcopy
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, register_coco_instances
from detectron2.structures import BoxMode

from mvit_det import files
from mvit_det.data.detection.annotations import annotation_fault, check_coco_json
from mvit_det.data.detection.coco import class_names, coco_dataset, named_dataset, uses_rle
from mvit_det.data.image_files import missing_files, unreadable_files
from mvit_det.errors import UserError

SQUARE = [[1, 1, 9, 1, 9, 9, 1, 9]]
RLE = {"size": [48, 64], "counts": [0, 10, 48 * 64 - 10]}


@pytest.fixture
def registered():
    """Unregister the names that a test registered."""
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_custom_file(toy, registered):
    dicts = coco_dataset("toy_train", *toy.arguments())
    assert len(dicts) == 12 and all(len(d["annotations"]) == 2 for d in dicts)
    first = dicts[0]
    assert Path(first["file_name"]) == toy.root / "001.png"
    assert (first["height"], first["width"], first["image_id"]) == (48, 64, 1)
    assert first["annotations"][0]["bbox_mode"] == BoxMode.XYWH_ABS
    # Category ids 3 and 7 become 0 and 1, independently of their order in the file.
    assert [a["category_id"] for a in first["annotations"]] == [0, 1]
    assert list(MetadataCatalog.get("toy_train").thing_classes) == ["date", "fig"]
    assert class_names(toy.json_file) == ["date", "fig"]
    assert MetadataCatalog.get("toy_train").json_file == str(toy.json_file)
    assert len(DatasetCatalog.get("toy_train")) == 12


def test_registering_a_name_again_replaces_it(toy, registered):
    coco_dataset("toy_train", *toy.arguments())
    coco_dataset("toy_train", *toy.arguments())
    toy.coco["categories"][0]["name"] = "hazelnut"
    toy.json_file = toy.json_file.with_name("other.json")
    coco_dataset("toy_train", *toy.arguments())
    metadata = MetadataCatalog.get("toy_train")
    assert list(metadata.thing_classes) == ["date", "hazelnut"]
    assert metadata.json_file == str(toy.json_file)
    with pytest.raises(UserError, match="'coco_2017_val' is taken"):
        coco_dataset("coco_2017_val", *toy.arguments())


def test_test_file_must_have_the_training_classes(toy, registered):
    train = toy.write()
    toy.json_file = toy.json_file.with_name("val.json")
    coco_dataset("toy_val", *toy.arguments(), same_classes_as=train)
    toy.coco["categories"].reverse()
    toy.coco["categories"][0]["name"] = "apple"
    with pytest.raises(UserError, match="val.json has the classes apple, fig, but .*toy.json"):
        coco_dataset("toy_val", *toy.arguments(), same_classes_as=train)


# ---- Refused files: one sentence with the file, the place and the fix.


def _drop(key, index, field):
    return lambda coco: coco[key][index].pop(field)


def _set(key, index, **values):
    return lambda coco: coco[key][index].update(values)


REFUSED = {
    "no annotations key": (lambda coco: coco.pop("annotations"), "lacks 'annotations'"),
    "no keys at all": (lambda coco: coco.clear(), "lacks 'images', 'categories', 'annotations'"),
    "empty categories": (lambda coco: coco["categories"].clear(), "'categories' is empty"),
    "empty images": (lambda coco: coco["images"].clear(), "'images' is empty"),
    "unknown category": (
        _set("annotations", 4, category_id=77),
        r"1 annotation\(s\) \(id 5\) have category_id 77.*ids there: 7, 3",
    ),
    "category id of another type": (_set("annotations", 0, category_id="3"), r"category_id '3'"),
    "unknown image": (_set("annotations", 0, image_id=99), r"\(id 1\) have image_id 99"),
    "duplicate image id": (_set("images", 3, id=2), "'images' has more than one entry with id 2"),
    "duplicate annotation id": (
        _set("annotations", 3, id=2),
        "'annotations' has more than one entry with id 2",
    ),
    "no width": (_drop("images", 1, "width"), r"image 2 \('002.png'\) has no 'width'"),
    "zero height": (_set("images", 1, height=0), r"image 2 \('002.png'\) has height=0"),
    "no id": (_drop("annotations", 1, "id"), r"annotations\[1\] has no 'id'"),
    "no box": (
        lambda coco: coco["annotations"].__setitem__(1, dict(id=2, image_id=1, category_id=3)),
        "annotation 2 has no 'bbox'",
    ),
    "box with text": (_set("annotations", 1, bbox=[1, 2, "3", 4]), r"annotation 2 has bbox=\[1, 2"),
    "box of five numbers": (_set("annotations", 1, bbox=[1, 2, 3, 4, 5]), "must be four numbers"),
    "empty box": (
        _set("annotations", 1, bbox=[], segmentation=[]),
        "annotation 2 has bbox=.*four numbers",
    ),
    "flat polygon": (_set("annotations", 1, segmentation=[1, 1, 9, 1, 9, 9]), "list of polygons"),
    "RLE of another size": (
        _set("annotations", 1, segmentation={"size": [64, 48], "counts": [64 * 48]}),
        r"annotation 2 has an RLE mask of size \[64, 48\] in an image of height 48 and width 64",
    ),
    "RLE without counts": (_set("annotations", 1, segmentation={"size": [48, 64]}), "'counts'"),
    "ignore": (_set("annotations", 1, ignore=1), "annotation 2 is marked 'ignore'"),
}


ROW_21 = ("unknown category", "category id of another type")
ROW_28 = ("empty categories", "empty images", "duplicate image id", "duplicate annotation id")


def check_refused(toy, fault):
    damage, message = REFUSED[fault]
    damage(toy.coco)
    with pytest.raises(UserError, match=message) as caught:
        check_coco_json(toy.write())
    text = str(caught.value)
    assert text.startswith(str(toy.json_file)) and "\n" not in text


@pytest.mark.parametrize("fault", [fault for fault in REFUSED if fault not in ROW_21 + ROW_28])
def test_refused_files(toy, fault):
    check_refused(toy, fault)


@pytest.mark.parametrize("fault", ROW_21)
def test_row_21_a_category_id_that_is_not_in_categories(toy, fault):
    check_refused(toy, fault)


@pytest.mark.parametrize("fault", ROW_28)
def test_row_28_ids_twice_and_empty_lists(toy, fault):
    check_refused(toy, fault)


def test_row_28_files_that_are_not_coco_json(toy, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{\n "images": [,]\n}')
    with pytest.raises(UserError, match=r"broken.json is not valid JSON: line 2, column 13"):
        check_coco_json(broken)
    broken.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match="broken.json cannot be read as text"):
        check_coco_json(broken)
    broken.write_text("[1, 2]")
    with pytest.raises(UserError, match="broken.json is not a COCO detection file"):
        class_names(broken)
    with pytest.raises(UserError, match="absent.json does not exist"):
        check_coco_json(tmp_path / "absent.json")


# ---- Annotations that are dropped.

BOX_FAULTS = {
    "box without area": dict(bbox=[5, 5, 0, 10]),
    "box with NaN or infinity": dict(bbox=[float("nan"), 5, 10, 10]),
    "box of negative width or height": dict(bbox=[49, 45, -20, 3]),
    "box outside the image": dict(bbox=[64, 5, 10, 10]),
}
MASK_FAULTS = {
    "no segmentation": dict(segmentation=[]),
    "polygon of fewer than 3 points or of odd length": dict(segmentation=[[1, 1, 9, 9]]),
    "polygon with NaN or infinity": dict(segmentation=[[1, 1, 9, float("inf"), 9, 9]]),
}


@pytest.mark.parametrize("fault", BOX_FAULTS)
def test_row_19_faulty_boxes_are_dropped_and_listed(toy, registered, caplog, fault):
    toy.annotations[3].update(BOX_FAULTS[fault])
    check_dropped(toy, caplog, fault)


@pytest.mark.parametrize("fault", MASK_FAULTS)
def test_row_20_faulty_masks_are_dropped_and_listed(toy, registered, caplog, fault):
    toy.annotations[2]["segmentation"] = RLE  # among polygons
    toy.annotations[3].update(MASK_FAULTS[fault])
    check_dropped(toy, caplog, fault)


def check_dropped(toy, caplog, fault):
    with caplog.at_level(logging.WARNING, logger="mvit_det"):
        dicts = coco_dataset("toy_train", *toy.arguments())
    kept = [a["id"] for d in dicts for a in d["annotations"]]
    assert kept == [i for i in range(1, 25) if i != 4]
    messages = [r.getMessage() for r in caplog.records if r.name == "mvit_det.data.detection.coco"]
    assert len(messages) == 1  # one table per data set
    assert f"1  annotations dropped: {fault} (4)" in messages[0]
    # The catalog's dicts are clean as well.
    assert sum(len(d["annotations"]) for d in DatasetCatalog.get("toy_train")) == 23


BROKEN_RLE = {"size": [48, 64], "counts": "zz~~broken"}


def test_broken_masks_of_test_data_are_said_at_start(toy, registered, caplog):
    toy.annotations[3]["segmentation"] = BROKEN_RLE
    coco_dataset("toy_val", *toy.arguments(), filter_empty=False)
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert said.startswith("toy_val: 1 test annotations are faulty (broken RLE mask: 4): metrics")
    assert "\n" not in said and "those of masks leave out absent and broken masks" in said
    for annotation in toy.annotations:
        annotation["segmentation"] = BROKEN_RLE
    with pytest.raises(UserError, match=r"24 of 24 annotations .*\(broken RLE mask: 1, 2"):
        coco_dataset("toy_val", *toy.arguments(), filter_empty=False)


def test_annotation_faults():
    def fault(box, mask=SQUARE, need_mask=True):
        return annotation_fault(box, mask, 64, 48, need_mask)

    assert fault([-5, -5, 10, 10]) is None  # partly outside: the mapper clips it
    assert fault([1, 1, 8, 8], RLE) is None
    assert fault([-5, 5, 5, 10]) == "box outside the image"
    assert fault([5, 5, 10, float("inf")]) == "box with NaN or infinity"
    assert fault([1, 1, 8, 8], None) == "no segmentation"
    assert fault([1, 1, 8, 8], None, need_mask=False) is None
    assert fault([1, 1, 8, 8], [[1, 1, 9, 1, 9]]).startswith("polygon of fewer")
    assert fault([1, 1, 8, 8], [[1, 1, 9, 9], *SQUARE]) is None  # one good part is enough


def test_masks_are_optional(toy, registered):
    for annotation in toy.annotations:
        annotation.pop("segmentation")
    with pytest.raises(UserError, match="24 of 24 annotations cannot be used .no segmentation"):
        coco_dataset("toy_train", *toy.arguments())
    assert len(coco_dataset("toy_train", *toy.arguments(), masks=False)) == 12


def test_row_19_too_many_faulty_annotations(toy, registered):
    for annotation in toy.annotations[:3]:
        annotation["bbox"][2] = 0
    with pytest.raises(UserError, match=r"3 of 24 annotations .*box without area: 1, 2, 3"):
        coco_dataset("toy_train", *toy.arguments())
    assert len(coco_dataset("toy_train", *toy.arguments(), max_bad_share=0.2)) == 11


def test_crowds_are_kept_and_rle_is_detected(toy, registered):
    toy.annotations[1].update(iscrowd=1, segmentation=RLE)
    assert not uses_rle(toy.write())
    dicts = coco_dataset("toy_train", *toy.arguments())
    assert [a["iscrowd"] for a in dicts[0]["annotations"]] == [0, 1]
    toy.annotations[2]["segmentation"] = RLE
    assert uses_rle(toy.write())


# ---- Images.


def test_row_23_images_without_annotations(toy, registered, caplog):
    del toy.annotations[2:6]  # images 2 and 3
    toy.annotations[2]["iscrowd"] = 1  # image 4 keeps one usable annotation
    with caplog.at_level(logging.INFO, logger="mvit_det"):
        train = coco_dataset("toy_train", *toy.arguments())
    assert [d["image_id"] for d in train] == [1, *range(4, 13)]
    assert "10 of 12 images are used, with 19 objects of 2 classes." in caplog.text
    assert "2  images dropped: no annotation to learn (002.png, 003.png)" in caplog.text
    assert len(coco_dataset("toy_val", *toy.arguments(), filter_empty=False)) == 12


def test_no_annotations_at_all(toy, registered):
    toy.annotations.clear()
    with pytest.raises(UserError, match="none of the 12 images has an annotation"):
        coco_dataset("toy_train", *toy.arguments())


def test_missing_images(toy, registered, caplog):
    (toy.root / "005.png").unlink()
    train = coco_dataset("toy_train", *toy.arguments())
    assert len(train) == 11
    assert "1  images dropped: file missing (005.png)" in caplog.text
    # A test set keeps the image: its objects count as not found, and evaluations report it.
    assert len(coco_dataset("toy_val", *toy.arguments(), filter_empty=False)) == 12
    (toy.root / "006.png").unlink()
    with pytest.raises(
        UserError, match="2 of 12 images cannot be used .*file missing.*max_bad_share=0.1"
    ):
        coco_dataset("toy_train", *toy.arguments())
    assert len(coco_dataset("toy_train", *toy.arguments(), max_bad_share=0.5)) == 10


def test_wrong_image_folder(toy, registered, tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist, so none of the 12.*001.png"):
        coco_dataset("toy_train", toy.write(), tmp_path / "nowhere")
    with pytest.raises(UserError, match="exists, but not one of the 12 images.*001.png"):
        coco_dataset("toy_train", toy.write(), tmp_path)


def test_unreadable_images(toy, registered, caplog):
    (toy.root / "005.png").write_text("<html>not found</html>")
    assert len(coco_dataset("toy_train", *toy.arguments())) == 11
    assert "1  images dropped: the file is not a picture that can be read" in caplog.text
    assert len(coco_dataset("toy_val", *toy.arguments(), filter_empty=False)) == 12
    (toy.root / "006.png").write_bytes(b"")
    with pytest.raises(UserError, match="2 of 12 images cannot be used .*006.png: the file is not"):
        coco_dataset("toy_train", *toy.arguments())


def test_images_of_large_sets_are_sampled(toy):
    paths = [str(toy.root / f"{i:03d}.png") for i in range(100)]  # only 001 to 012 exist
    assert len(unreadable_files(paths)) == 88
    assert list(unreadable_files(paths, at_most=4)) == [paths[0], paths[25], paths[50], paths[75]]
    assert unreadable_files([]) == {}


def test_subfolders_and_odd_names(toy, registered):
    (toy.root / "sub dir").mkdir()
    (toy.root / "001.png").rename(toy.root / "sub dir" / "gr\u00fcn.png")
    toy.coco["images"][0]["file_name"] = "sub dir/gr\u00fcn.png"
    assert len(coco_dataset("toy_train", *toy.arguments(), max_bad_share=0)) == 12


def test_missing_files_lists_each_folder_once(toy, monkeypatch):
    listed, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or listdir(folder))
    paths = [f"{toy.root}/{i:03d}.png" for i in range(1, 15)]
    assert missing_files(paths, toy.root) == paths[12:]
    assert listed == [str(toy.root)]


# ---- Keys that the metric needs and exporters omit.


def test_incomplete_files_are_completed_for_the_metric(toy, registered, caplog):
    toy.annotations[0]["id"] = 0
    toy.annotations[5].update(bbox=[4, 4, 0, 8], segmentation=[])
    for annotation in toy.annotations:
        del annotation["area"], annotation["iscrowd"]
    with caplog.at_level(logging.INFO, logger="mvit_det"):
        dicts = coco_dataset("toy_val", *toy.arguments(), filter_empty=False)
    assert sum(len(d["annotations"]) for d in dicts) == 23
    copy = Path(MetadataCatalog.get("toy_val").json_file)
    assert copy != toy.json_file and str(copy) in caplog.text
    annotations = json.loads(copy.read_text())["annotations"]
    assert [a["id"] for a in annotations] == [25, *range(2, 25)]
    assert {(a["area"], a["iscrowd"]) for a in annotations} == {(320, 0), (0, 0)}
    assert "area" not in toy.json_file.read_text()  # the user's file is unchanged


# ---- Data sets known by name.


def test_named_datasets_are_cleaned(toy, registered, caplog):
    annotation = dict(bbox=[1, 1, 9, 9], bbox_mode=BoxMode.XYXY_ABS, category_id=0)
    good = dict(annotation, segmentation=SQUARE)
    bad = dict(annotation, bbox=[9, 9, 1, 1], segmentation=SQUARE)
    image = dict(file_name=str(toy.root / "001.png"), height=48, width=64, image_id=1)
    dicts = [dict(image, annotations=[good] * 10 + [bad])]
    DatasetCatalog.register("toy_named", lambda: deepcopy(dicts))
    MetadataCatalog.get("toy_named").set(thing_classes=["fig"])
    loaded = named_dataset("toy_named")
    assert len(loaded[0]["annotations"]) == 10
    assert "box of negative width or height (#10 of 001.png)" in caplog.text
    del good["segmentation"]
    with pytest.raises(UserError, match="no segmentation.* with model.masks=false"):
        named_dataset("toy_named")
    good["segmentation"] = [[1, 1, 9, 9]]  # broken
    (image,) = named_dataset("toy_named", masks=False)
    assert len(image["annotations"]) == 10 and "segmentation" not in image["annotations"][0]


def register(toy, name: str = "toy_host", **metadata) -> str:
    register_coco_instances(name, metadata, *toy.arguments())
    return name


def test_detectron2s_coco_sets_are_read_once_and_to_the_same(toy, registered, monkeypatch):
    toy.annotations[3].update(iscrowd=1, segmentation=RLE)
    name = register(toy, thing_classes=["date", "fig"])
    theirs = load_coco_json(*toy.arguments(), "toy_host_too")
    monkeypatch.setattr(files, "KEPT_BYTES", 0)  # as for a file that is too large to be kept
    parses, parse = [], json.load
    monkeypatch.setattr(json, "load", lambda file, **o: parses.append(file) or parse(file, **o))
    ours = named_dataset(name, filter_empty=False)
    assert ours == theirs and len(parses) == 1
    register(toy, name, thing_classes=["date", "fig"])  # again, as a config that is loaded again
    assert DatasetCatalog.get(name) == theirs == named_dataset(name)
    del toy.coco["annotations"]  # as of COCO's test set
    assert named_dataset(register(toy, "toy_test"), filter_empty=False)[0]["annotations"] == []


def test_values_in_detectron2s_coco_sets(toy, registered, caplog):
    toy.annotations[0].update(iscrowd="0", bbox=None)
    dicts = named_dataset(register(toy))
    assert dicts[0]["annotations"][0]["iscrowd"] == 0
    assert dicts[0]["annotations"][0]["bbox"] == [4, 10, 20, 16]
    assert DatasetCatalog.get("toy_host") == dicts  # which the evaluators draw
    for annotation in toy.annotations:
        annotation["iscrowd"] = 1
    named_dataset(register(toy, "toy_crowds"), filter_empty=False)
    assert "24 of 24 annotations have iscrowd=1" in caplog.text
    toy.annotations[0]["iscrowd"] = "x"
    with pytest.raises(UserError, match="annotation 1 has iscrowd='x': write 0, or 1"):
        named_dataset(register(toy, "toy_wrong"))
    toy.annotations[0]["iscrowd"] = 0
    with pytest.raises(UserError, match="with the classes fig, date, but .* has date, fig, by"):
        named_dataset(register(toy, "toy_classes", thing_classes=["fig", "date"]))


def test_row_35_unknown_name():
    with pytest.raises(UserError, match="'coco_2017_trian' is not known.*coco_2017_train"):
        named_dataset(["coco_2017_trian"])


@pytest.mark.parametrize("value", [None, "/some/where"])
def test_row_35_dataset_not_on_disk(monkeypatch, tmp_path, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    if value:
        monkeypatch.setenv("DETECTRON2_DATASETS", value)
    with pytest.raises(UserError) as caught:
        named_dataset("coco_2017_train")
    text = str(caught.value)
    assert "coco/annotations/instances_train2017.json, " in text and "coco/train2017" in text
    assert "`mvit-det train --config-file quickstart`" in text
    assert (repr(value) if value else f"is not set, so {tmp_path / 'datasets'}") in text


def test_without_masks_nothing_of_a_mask_is_read(toy, registered, monkeypatch):
    toy.annotations[0]["segmentation"] = [[1, 1, 9, 9]]  # broken
    assert sum(len(d["annotations"]) for d in coco_dataset("toy_train", *toy.arguments())) == 23
    dicts = coco_dataset("toy_train", *toy.arguments(), masks=False)
    assert sum(len(d["annotations"]) for d in dicts) == 24
    assert not any("segmentation" in a for d in dicts for a in d["annotations"])


def test_a_picture_under_two_ids_keeps_its_annotations(toy, registered, caplog):
    """LIVECell lists pictures again, without annotations."""
    toy.coco["images"].append(dict(toy.coco["images"][0], id=99))
    with caplog.at_level(logging.INFO, logger="mvit_det"):
        dicts = coco_dataset("toy_train", *toy.arguments())
    assert [d["image_id"] for d in dicts] == list(range(1, 13))
    assert "1  images dropped: no annotation to learn (001.png)" in caplog.text


def test_two_categories_of_one_name_are_told_apart(toy, registered):
    toy.coco["categories"][0]["name"] = "date"
    coco_dataset("toy_train", *toy.arguments())
    assert MetadataCatalog.get("toy_train").thing_classes == ["date (3)", "date (7)"]
