"""COCO 2017 as registered data sets; the files are in the folder $DETECTRON2_DATASETS."""

import os

from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from .coco import register_coco_instances

# The categories of COCO by id; 80 of 1..90 are in use.
_CATEGORIES = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]


def register_all_coco(root: str) -> None:
    """Register ``root``/coco/annotations/instances_*.json with coco/{train,val}2017/."""
    ids = [i for i, name in enumerate(_CATEGORIES) if name not in ("__background__", "N/A")]
    metadata = dict(
        thing_classes=[_CATEGORIES[i] for i in ids],
        thing_dataset_id_to_contiguous_id={i: label for label, i in enumerate(ids)},
    )
    for name, folder, suffix in (
        ("coco_2017_train", "train2017", ""),
        ("coco_2017_val", "val2017", ""),
        ("coco_2017_val_100", "val2017", "_100"),
    ):
        json_file = os.path.join(root, f"coco/annotations/instances_{folder}{suffix}.json")
        register_coco_instances(name, metadata, json_file, os.path.join(root, f"coco/{folder}"))


register_all_coco(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
