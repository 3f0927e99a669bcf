"""Data of the detection task: one's own COCO files, named data sets, generated shapes."""

from mvit_det.data.coco import class_names, coco_dataset, named_dataset, uses_rle
from mvit_det.data.loader import build_train_loader
from mvit_det.data.mapper import TolerantMapper
from mvit_det.data.shapes import shapes_dataset

__all__ = [
    "TolerantMapper",
    "build_train_loader",
    "class_names",
    "coco_dataset",
    "named_dataset",
    "shapes_dataset",
    "uses_rle",
]
