"""COCO 2017 by name: its classes, and its files under the folder $DETECTRON2_DATASETS."""

import os
from typing import Any

from .coco import register_coco_instances

# https://cocodataset.org: 80 of the ids 1 to 90 are in use, in this order.
_CLASSES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra,
giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork,
knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut,
cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear,
hair drier, toothbrush
"""
_UNUSED_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def coco_instances_meta() -> dict[str, Any]:
    """Return the metadata of every COCO detection data set: 80 classes out of ids 1 to 90."""
    ids = (category_id for category_id in range(1, 91) if category_id not in _UNUSED_IDS)
    names = _CLASSES.strip().replace("\n", " ").split(", ")
    contiguous = {category_id: label for label, category_id in enumerate(ids)}
    return dict(thing_classes=names, thing_dataset_id_to_contiguous_id=contiguous)


def register_all_coco(root: str) -> None:
    """Register ``root``/coco/annotations/instances_*.json with coco/{train,val}2017/."""
    for name, folder, suffix in (
        ("coco_2017_train", "train2017", ""),
        ("coco_2017_val", "val2017", ""),
        ("coco_2017_val_100", "val2017", "_100"),
    ):
        json_file = os.path.join(root, f"coco/annotations/instances_{folder}{suffix}.json")
        images = os.path.join(root, f"coco/{folder}")
        register_coco_instances(name, coco_instances_meta(), json_file, images)


register_all_coco(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
