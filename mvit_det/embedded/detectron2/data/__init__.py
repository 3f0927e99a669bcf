"""Data sets by name, mapping of their samples, and loaders of batches."""

from . import datasets, samplers, transforms  # `datasets` registers COCO by name
from .build import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
    print_instances_class_histogram,
)
from .catalog import DatasetCatalog, Metadata, MetadataCatalog
from .common import DatasetFromList, MapDataset
from .dataset_mapper import DatasetMapper
