"""Data of all tasks: one's own files and named data sets, loaders, augmentation, generated shapes."""

from mvit_det.data.batches import Mixup, StackSamples
from mvit_det.data.coco import class_names, coco_dataset, named_dataset, uses_rle
from mvit_det.data.image_mapper import ImageMapper
from mvit_det.data.image_transforms import test_transform, train_transform
from mvit_det.data.labelled_images import ImageClasses, image_classes
from mvit_det.data.loader import build_train_loader
from mvit_det.data.mapper import TolerantMapper
from mvit_det.data.shape_crops import shape_classes
from mvit_det.data.shapes import shapes_dataset

__all__ = [
    "ImageClasses",
    "ImageMapper",
    "Mixup",
    "StackSamples",
    "TolerantMapper",
    "build_train_loader",
    "class_names",
    "coco_dataset",
    "image_classes",
    "named_dataset",
    "shape_classes",
    "shapes_dataset",
    "test_transform",
    "train_transform",
    "uses_rle",
]
