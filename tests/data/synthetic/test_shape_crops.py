"""Generated shapes for classification: deterministic, and disjoint from the detection set."""

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from PIL import Image

from mvit_det.data import shape_classes, shapes_dataset
from mvit_det.data.detection import crops
from mvit_det.data.synthetic import shape_crops
from mvit_det.data.synthetic.shapes import CLASSES
from mvit_det.errors import UserError

SMALL = dict(num_train=12, num_val=5, image_size=96, crop_size=32, object_size=(16, 40))
FEW = dict(SMALL, num_train=4, num_val=2)


def pictures(dataset) -> list[bytes]:
    return [Path(item["file_name"]).read_bytes() for item in dataset]


def test_classes_and_sizes(root):
    dataset = shape_classes("train", **SMALL, name="shape_classes_test", num_classes=6)
    assert sorted(dataset.classes) == sorted([*CLASSES, crops.BACKGROUND])
    assert list(MetadataCatalog.get("shape_classes_test").thing_classes) == dataset.classes
    assert len(dataset) > 20 and set(dataset.labels) == set(range(6))
    for item in dataset:
        with Image.open(item["file_name"]) as picture:
            assert picture.size == (32, 32)
            if dataset.classes[item["label"]] == crops.BACKGROUND:
                saturation = np.asarray(picture.convert("HSV"))[..., 1]
                assert np.median(saturation) < 120  # shapes have strong colours, backgrounds do not
    with pytest.raises(UserError, match="has 6 classes, but the model is built for 5"):
        shape_classes("val", **SMALL, num_classes=5)
    (folder,) = (root / "shape_classes").iterdir()
    assert folder.name == "v1-12+5-96px-16to40-crop32-seed1"


def test_same_arguments_give_the_same_pictures(tmp_path, monkeypatch):
    drawn = []
    for name in "ab":
        monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / name))
        drawn.append(pictures(shape_classes("train", **FEW)))
    assert len(drawn[0]) >= 8 and drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(pictures(shape_classes("val", **FEW)))
    assert not set(drawn[0]) & set(pictures(shape_classes("train", **FEW, seed=2)))


def test_pictures_are_not_those_of_the_detection_set(root, monkeypatch):
    kept = {}

    def keep(json_file, image_root, folder, **options):
        for path in Path(image_root).iterdir():
            kept[f"{Path(folder).name}/{path.name}"] = path.read_bytes()
        return crops.crop_objects(json_file, image_root, folder, **options)

    monkeypatch.setattr(shape_crops, "crop_objects", keep)
    shape_classes("train", **FEW)
    sizes = dict(num_train=4, num_val=2, image_size=96, object_size=(16, 40))
    detection = [item for split in ("train", "val") for item in shapes_dataset(split, **sizes)]
    assert len(kept) == len(detection) == 6
    assert not set(kept.values()) & set(pictures(detection))


def test_arguments_out_of_range(root):
    with pytest.raises(UserError, match="split='test' of .* one of train, val"):
        shape_classes("test")
    with pytest.raises(UserError, match="crop_size=0 of shape_classes"):
        shape_classes("val", crop_size=0)
