"""Data sets in COCO format, and the built-in ones."""

from . import builtin  # registers them
from .coco import convert_to_coco_json, load_coco_json, register_coco_instances
