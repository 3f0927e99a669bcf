"""Catalogs, annotation files, the mapper, and data sets that wrap others."""

import json
import logging
import pickle

import numpy as np
import pytest
from detectron2.data import (
    DatasetCatalog,
    DatasetFromList,
    DatasetMapper,
    MapDataset,
    MetadataCatalog,
    get_detection_dataset_dicts,
)
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.data.datasets import (
    convert_to_coco_json,
    load_coco_json,
    register_coco_instances,
)
from detectron2.structures import BitMasks, BoxMode, PolygonMasks
from PIL import Image

SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]
INVALID = [[1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7]]


@pytest.fixture
def name():
    """Return the name of a data set; remove it from the catalogs after the test."""
    yield "test_data_only"
    for catalog in (DatasetCatalog, MetadataCatalog):
        if "test_data_only" in catalog.list():
            catalog.remove("test_data_only")


@pytest.fixture
def picture(tmp_path):
    """Write a 40x60 image; return it and its dict with an object, a crowd and an empty box."""
    pixels = np.random.RandomState(0).randint(0, 256, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")

    def annotation(box, polygon, crowd=0):
        mode = BoxMode.XYWH_ABS
        return dict(bbox=box, bbox_mode=mode, category_id=1, segmentation=[polygon], iscrowd=crowd)

    annotations = [
        annotation([10.0, 10.0, 20.0, 20.0], SQUARE),
        annotation([0.0, 0.0, 60.0, 40.0], [0, 0, 60, 0, 60, 40], crowd=1),
        annotation([5.0, 5.0, 0.0, 9.0], [5, 5, 5, 14, 5, 9]),
    ]
    return pixels, dict(
        file_name=str(tmp_path / "picture.png"),
        height=40,
        width=60,
        image_id=7,
        annotations=annotations,
    )


def write_coco(path, annotations, categories=((5, "b"), (2, "a")), sizes=((30, 40), (20, 20))):
    images = [
        dict(id=9 - i, file_name=f"{i}.png", height=h, width=w) for i, (h, w) in enumerate(sizes)
    ]
    coco = dict(
        images=images,
        annotations=[dict(dict(iscrowd=0), **a) for a in annotations],
        categories=[dict(id=i, name=n) for i, n in categories],
    )
    path.write_text(json.dumps(coco))
    return str(path)


# ---- catalogs


def test_catalog_of_data_sets(name):
    DatasetCatalog.register(name, lambda: [dict(image_id=1)])
    assert DatasetCatalog.get(name) == [dict(image_id=1)]
    assert name in DatasetCatalog.list()
    with pytest.raises(AssertionError, match=name):
        DatasetCatalog.register(name, list)
    with pytest.raises(AssertionError):
        DatasetCatalog.register("other", [dict(image_id=1)])
    DatasetCatalog.remove(name)
    with pytest.raises(KeyError, match=name):
        DatasetCatalog.get(name)


def test_metadata_is_set_once(name):
    metadata = MetadataCatalog.get(name)
    assert metadata.set(thing_classes=["a"], note=1) is metadata
    assert MetadataCatalog.get(name) is metadata and metadata.name == name
    metadata.thing_classes = ["a"]  # setting an equal value is allowed
    with pytest.raises(AssertionError, match="thing_classes"):
        metadata.thing_classes = ["b"]
    with pytest.raises(AttributeError, match="colour"):
        assert metadata.colour
    assert metadata.get("colour", 3) == 3 and metadata.get("note") == 1
    assert vars(metadata) == dict(name=name, thing_classes=["a"], note=1)
    assert vars(pickle.loads(pickle.dumps(metadata))) == vars(metadata)


def test_coco_is_registered():
    train, val = MetadataCatalog.get("coco_2017_train"), MetadataCatalog.get("coco_2017_val")
    assert {"coco_2017_train", "coco_2017_val", "coco_2017_val_100"} <= set(DatasetCatalog.list())
    assert len(val.thing_classes) == 80
    assert val.thing_classes[0] == "person" and val.thing_classes[79] == "toothbrush"
    ids = val.thing_dataset_id_to_contiguous_id
    assert ids[1] == 0 and ids[13] == 11 and ids[90] == 79 and len(ids) == 80
    assert train.json_file.endswith("coco/annotations/instances_train2017.json")
    assert val.image_root.endswith("coco/val2017") and val.evaluator_type == "coco"


# ---- annotation files


def test_load_coco_json(tmp_path, name):
    rle = dict(size=[20, 20], counts=[0, 5, 395])
    annotations = [
        dict(id=1, image_id=9, category_id=5, bbox=[1, 2, 3, 4], segmentation=[SQUARE]),
        dict(id=2, image_id=8, category_id=2, bbox=[0, 0, 1, 5], iscrowd=1, segmentation=rle),
        dict(id=3, image_id=9, category_id=2, bbox=[1, 2, 3, 4], segmentation=INVALID),
        dict(id=4, image_id=9, category_id=2, bbox=[1, 2, 3, 4], segmentation=[]),
    ]
    path = write_coco(tmp_path / "coco.json", annotations)
    small, large = load_coco_json(path, "folder", name, ["id"])
    assert (small["image_id"], small["height"], small["width"]) == (8, 20, 20)
    assert large["file_name"] == "folder/0.png"
    # Category ids 2 and 5 become 0 and 1, in the order of the ids.
    assert MetadataCatalog.get(name).thing_classes == ["a", "b"]
    assert [a["category_id"] for a in large["annotations"]] == [1, 0]
    # The annotation without a valid polygon is dropped, the one without a mask is not.
    assert [a["id"] for a in large["annotations"]] == [1, 4]
    assert "segmentation" not in large["annotations"][1]
    (crowd,) = small["annotations"]
    assert crowd["iscrowd"] == 1 and crowd["bbox_mode"] == BoxMode.XYWH_ABS
    assert isinstance(crowd["segmentation"]["counts"], bytes)
    assert load_coco_json(path, "folder")[1]["annotations"][0]["category_id"] == 5


@pytest.mark.parametrize(
    "change, error",
    [
        (dict(category_id=77), KeyError),
        (dict(bbox=[]), ValueError),
        (dict(id=2), AssertionError),
        (dict(ignore=1), AssertionError),
    ],
)
def test_load_coco_json_refuses(tmp_path, name, change, error):
    first = dict(id=1, image_id=9, category_id=5, bbox=[1, 2, 3, 4])
    path = write_coco(tmp_path / "coco.json", [dict(first, **change), dict(first, id=2)])
    with pytest.raises(error):
        load_coco_json(path, "folder", name)


def test_dataset_dicts_drop_images_without_objects(tmp_path, name, caplog):
    annotations = [
        dict(id=1, image_id=9, category_id=5, bbox=[1, 2, 3, 4]),
        dict(id=2, image_id=8, category_id=2, bbox=[1, 2, 3, 4], iscrowd=1),
    ]
    register_coco_instances(name, {}, write_coco(tmp_path / "coco.json", annotations), "folder")
    with caplog.at_level(logging.INFO):
        dicts = get_detection_dataset_dicts(name)
    assert [entry["image_id"] for entry in dicts] == [9]
    table = next(text for text in caplog.messages if "|" in text)
    assert " b " in table and " a " in table
    assert len(get_detection_dataset_dicts([name], filter_empty=False)) == 2


def test_data_sets_of_different_classes_are_refused(tmp_path, name):
    annotations = [dict(id=1, image_id=9, category_id=5, bbox=[1, 2, 3, 4])]
    paths = [
        write_coco(tmp_path / "first.json", annotations),
        write_coco(tmp_path / "second.json", annotations, categories=((5, "b"), (2, "c"))),
    ]
    names = [name, "test_data_second"]
    for entry, path in zip(names, paths):
        register_coco_instances(entry, {}, path, "folder")
    try:
        with pytest.raises(ValueError, match="thing_classes"):
            get_detection_dataset_dicts(names)
    finally:
        DatasetCatalog.remove(names[1])
        MetadataCatalog.remove(names[1])


def test_empty_data_sets_are_refused(name):
    DatasetCatalog.register(name, list)
    for names in (name, []):
        with pytest.raises(AssertionError):
            get_detection_dataset_dicts(names)


# ---- images and annotations


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA"])
def test_read_image_formats(tmp_path, mode):
    image = Image.fromarray(np.full((5, 7, 3), (204, 51, 102), np.uint8))
    image.convert(mode).save(tmp_path / "image.tif")
    path = str(tmp_path / "image.tif")
    rgb = utils.read_image(path, "RGB")
    assert rgb.shape == (5, 7, 3) and rgb.dtype == np.uint8
    expected = (204, 51, 102) if mode != "L" else (103, 103, 103)
    assert np.abs(rgb[2, 3].astype(int) - expected).max() <= 2
    np.testing.assert_array_equal(utils.read_image(path, "BGR"), rgb[:, :, ::-1])
    assert utils.read_image(path, "L").shape == (5, 7, 1)


def test_read_image_applies_the_exif_orientation(tmp_path):
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # upright after a rotation by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(
        utils.read_image(str(tmp_path / "turned.png"), "RGB"), np.rot90(pixels, -1)
    )


def test_image_size_is_checked():
    image = np.zeros((5, 7, 3), np.uint8)
    entry = {}
    utils.check_image_size(entry, image)
    assert entry == dict(width=7, height=5)
    with pytest.raises(utils.SizeMismatchError, match="photo.jpg"):
        utils.check_image_size(dict(width=5, height=7, file_name="photo.jpg"), image)


def test_annotation_is_transformed_with_the_image():
    annotation = dict(bbox=[10, 5, 50, 10], bbox_mode=BoxMode.XYWH_ABS, segmentation=[SQUARE])
    transforms = [T.HFlipTransform(40), T.ResizeTransform(20, 40, 40, 40)]
    moved = utils.transform_instance_annotations(annotation, transforms, (40, 40))
    # x 10..60 is mirrored to -20..30 and clipped; y doubles.
    np.testing.assert_allclose(moved["bbox"], [0, 10, 30, 30])
    assert moved["bbox_mode"] == BoxMode.XYXY_ABS
    np.testing.assert_allclose(moved["segmentation"][0], [30, 20, 10, 20, 10, 60, 30, 60])


def test_instances_from_mixed_masks():
    mask = np.zeros((40, 60), np.uint8)
    mask[3:7, 5:9] = 1
    box = dict(bbox=[5, 3, 9, 7], bbox_mode=BoxMode.XYXY_ABS, category_id=2)
    annotations = [dict(box, segmentation=mask), dict(box, segmentation=[SQUARE])]
    instances = utils.annotations_to_instances(annotations, (40, 60), "bitmask")
    assert isinstance(instances.gt_masks, BitMasks)
    assert instances.gt_masks.tensor.sum((1, 2)).tolist() == [16, 400]
    assert instances.gt_classes.tolist() == [2, 2]
    with pytest.raises(ValueError):
        utils.annotations_to_instances(annotations, (40, 60), "polygon")
    empty = utils.annotations_to_instances([], (40, 60))
    assert len(empty) == 0 and not empty.has("gt_masks")


def test_empty_instances_are_filtered():
    box = dict(bbox_mode=BoxMode.XYXY_ABS, category_id=0)
    annotations = [
        dict(box, bbox=[1.0, 1, 9, 9], segmentation=[SQUARE]),
        dict(box, bbox=[1.0, 1, 1, 9], segmentation=[SQUARE]),
        dict(box, bbox=[1.0, 1, 9, 9], segmentation=[]),
    ]
    instances = utils.annotations_to_instances(annotations, (40, 60))
    filtered = utils.filter_empty_instances(instances)
    assert filtered.gt_boxes.tensor.tolist() == [[1, 1, 9, 9]]


# ---- mapper


def test_mapper_for_training(picture):
    pixels, entry = picture
    mapper = DatasetMapper(
        True, augmentations=[T.HFlipTransform(60)], image_format="BGR", use_instance_mask=True
    )
    sample = mapper(entry)
    np.testing.assert_array_equal(sample["image"].numpy(), pixels[:, ::-1, ::-1].transpose(2, 0, 1))
    assert sample["image_id"] == 7 and "annotations" not in sample
    assert len(entry["annotations"]) == 3  # the input is unchanged
    instances = sample["instances"]
    assert instances.image_size == (40, 60)
    assert instances.gt_boxes.tensor.tolist() == [[30, 10, 50, 30]]  # no crowd, no empty box
    assert isinstance(instances.gt_masks, PolygonMasks)
    assert instances.gt_classes.tolist() == [1]


def test_mapper_for_testing(picture):
    _, entry = picture
    mapper = DatasetMapper(False, augmentations=[T.ResizeShortestEdge(20)], image_format="L")
    sample = mapper(entry)
    assert sample["image"].shape == (1, 20, 30)
    assert (sample["height"], sample["width"]) == (40, 60)  # of the file
    assert not {"annotations", "instances"} & sample.keys()


def test_mapper_recomputes_boxes_of_cropped_objects(picture):
    _, entry = picture
    crop = [T.CropTransform(0, 0, 25, 40)]
    options = dict(augmentations=crop, image_format="RGB", use_instance_mask=True)
    entry["annotations"][0]["bbox"] = [8.0, 8.0, 24.0, 24.0]  # looser than the mask
    loose = DatasetMapper(True, **options)(entry)["instances"]
    assert loose.gt_boxes.tensor.tolist() == [[8, 8, 25, 32]]
    for mask_format in ("polygon", "bitmask"):
        mapper = DatasetMapper(
            True, **options, recompute_boxes=True, instance_mask_format=mask_format
        )
        assert mapper(entry)["instances"].gt_boxes.tensor.tolist() == [[10, 10, 25, 30]]
    with pytest.raises(AssertionError):
        DatasetMapper(True, augmentations=[], image_format="RGB", recompute_boxes=True)


# ---- data sets that wrap others


def test_list_data_set_returns_copies():
    items = [dict(values=[1, 2]), dict(values=[])]
    dataset = DatasetFromList(items)
    dataset[0]["values"].append(3)
    assert len(dataset) == 2 and list(dataset) == items and dataset[-1] == items[-1]
    with pytest.raises(IndexError):
        dataset[2]


def test_map_replaces_items_that_are_none():
    mapped = MapDataset(list(range(20)), lambda i: i if i % 4 else None)
    values = [mapped[i] for i in range(20)]
    assert None not in values
    assert all(value == i for i, value in enumerate(values) if i % 4)
    copy = pickle.loads(pickle.dumps(MapDataset([1, -2], abs)))
    assert [copy[0], copy[1]] == [1, 2] and len(copy) == 2
    with pytest.raises(ValueError):
        MapDataset([1, 2], lambda i: None)[0]


# ---- conversion to COCO format


def test_conversion_to_an_annotation_file(tmp_path, name):
    rle = dict(size=[20, 20], counts=b"0<4000")
    mode = BoxMode.XYXY_ABS
    entries = [
        dict(bbox=[1, 2, 4.00049, 6], bbox_mode=mode, category_id=1),
        dict(bbox=[0, 0, 9, 9], bbox_mode=mode, category_id=0, segmentation=[SQUARE, SQUARE]),
        dict(bbox=[0, 0, 9, 9], bbox_mode=mode, category_id=0, segmentation=rle, iscrowd=1),
    ]
    record = dict(file_name="a.png", height=20, width=40, image_id=7, annotations=entries)
    DatasetCatalog.register(name, lambda: [record])
    ids = {30: 0, 50: 1}
    MetadataCatalog.get(name).set(thing_classes=["a", "b"], thing_dataset_id_to_contiguous_id=ids)
    path = str(tmp_path / "new" / "coco.json")
    convert_to_coco_json(name, path)
    coco = json.loads((tmp_path / "new" / "coco.json").read_text())
    assert coco["images"] == [dict(id=7, width=40, height=20, file_name="a.png")]
    assert coco["categories"] == [dict(id=30, name="a"), dict(id=50, name="b")]
    first, square, crowd = coco["annotations"]
    assert first["bbox"] == [1, 2, 3, 4] and first["area"] == pytest.approx(12.002, abs=1e-3)
    assert (first["id"], first["image_id"], first["category_id"]) == (1, 7, 50)
    assert square["area"] == 800 and square["segmentation"] == [SQUARE, SQUARE]
    assert crowd["iscrowd"] == 1 and crowd["segmentation"]["counts"] == "0<4000"
    record["annotations"] = []
    convert_to_coco_json(name, path)  # keeps the file
    assert len(json.loads((tmp_path / "new" / "coco.json").read_text())["annotations"]) == 3
    convert_to_coco_json(name, path, allow_cached=False)
    assert "annotations" not in json.loads((tmp_path / "new" / "coco.json").read_text())
