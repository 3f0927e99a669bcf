"""COCO 2017 by name, under the folder that the environment variable DETECTRON2_DATASETS gives.

::

    $DETECTRON2_DATASETS/coco/annotations/instances_{train,val}2017.json
    $DETECTRON2_DATASETS/coco/{train,val}2017/
"""

import os

from .builtin_meta import coco_instances_meta
from .coco import register_coco_instances


def register_all_coco(root: str) -> None:
    """Register COCO 2017 and its first 100 validation images; nothing is read yet."""
    for name, folder, suffix in (
        ("coco_2017_train", "train2017", ""),
        ("coco_2017_val", "val2017", ""),
        ("coco_2017_val_100", "val2017", "_100"),
    ):
        json_file = os.path.join(root, f"coco/annotations/instances_{folder}{suffix}.json")
        images = os.path.join(root, f"coco/{folder}")
        register_coco_instances(name, coco_instances_meta(), json_file, images)


register_all_coco(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
