"""Readers of COCO files for Detectron2's catalog: dataset dicts like its own, of checked files."""

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager
from pycocotools import mask as coco_mask

from mvit_det.coco_files import distinct_names, read_coco_json, sorted_categories
from mvit_det.coco_suspicions import suspicions
from mvit_det.data.detection.annotations import check_coco_json, is_closed
from mvit_det.errors import UserError, shorten_list

logger = logging.getLogger(__name__)

Dicts = list[dict[str, Any]]
# what Detectron2's reader takes of an annotation, besides its mask
HOST_KEYS = ("iscrowd", "bbox", "keypoints", "category_id")


def is_read_by_host(name: str) -> bool:
    """Return whether a data set was registered with Detectron2's `register_coco_instances`."""
    function, of_host = DatasetCatalog[name], register_coco_instances
    where = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    # NOTE: COCO's "minival" files repeat ids of annotations; Detectron2 makes the same exception.
    is_minival = "minival" in str(MetadataCatalog.get(name).get("json_file", ""))
    of_function = f"{of_host.__qualname__}.<locals>.<lambda>"
    return where == (of_host.__module__, of_function) and not is_minival


def replace_reader(name: str, training: bool, max_detections: int | None) -> None:
    """Let the catalog read the file of a name as `coco_dataset` does, and check the file now.

    Raises:
        UserError: as for `check_coco_json`, or the name was registered with other classes.
    """
    metadata = MetadataCatalog.get(name)
    json_file = PathManager.get_local_path(os.fspath(metadata.json_file))
    coco = check_coco_json(json_file, False)
    for suspicion in suspicions(coco, training, max_detections):
        logger.warning("%s: %s.", json_file, suspicion)
    labels, names = class_labels(coco)
    in_file = [str(entry["name"]) for entry in sorted_categories(coco)]
    known = metadata.get("thing_classes", names)
    if list(known) not in (names, in_file):
        raise UserError(
            f"Dataset {name!r} is registered with the classes {shorten_list(known, 20)}, but "
            f"{json_file} has {shorten_list(in_file, 20)}, by ascending id: leave thing_classes "
            "out of the registration, or correct it."
        )
    metadata.set(thing_classes=known, thing_dataset_id_to_contiguous_id=labels)
    load = loader(coco, json_file, os.fspath(metadata.image_root), labels, HOST_KEYS)
    DatasetCatalog.remove(name)
    DatasetCatalog.register(name, load)


def class_labels(coco: Mapping[str, Any]) -> tuple[dict[Any, int], list[str]]:
    """Return the class index of each category id, and the names of the classes."""
    entries = sorted_categories(coco)
    return {entry["id"]: index for index, entry in enumerate(entries)}, distinct_names(entries)


def loader(
    coco: dict[str, Any],
    json_file: str,
    root: str,
    labels: Mapping[Any, int],
    keys: Sequence[str],
    bad_ids: Collection = (),
    masks: bool = True,
) -> Callable[[], Dicts]:
    """Make a function for the catalog that builds the dataset dicts without bad annotations.

    They equal those of Detectron2's `load_coco_json`. The first call does not parse the file.
    """
    parsed = [coco]

    def load() -> Dicts:
        content, dicts = parsed.pop() if parsed else read_coco_json(json_file), {}
        for image in sorted(content["images"], key=lambda image: image["id"]):
            known = dict(image_id=image["id"], height=image["height"], width=image["width"])
            path = os.path.join(root, image["file_name"])
            dicts[image["id"]] = dict(file_name=path, annotations=[], **known)
        for entry in content.get("annotations", []):
            if entry["id"] not in bad_ids:
                converted = _convert_annotation(entry, labels, keys, masks)
                dicts[entry["image_id"]]["annotations"].append(converted)
        return list(dicts.values())

    return load


def _convert_annotation(
    entry: dict[str, Any], labels: Mapping[Any, int], keys: Sequence[str], masks: bool
) -> dict[str, Any]:
    """Convert an annotation to the format of Detectron2's dataset dicts."""
    result = {key: entry[key] for key in keys if key in entry}
    mask = entry.get("segmentation") if masks else None
    if isinstance(mask, list):
        mask = mask if all(map(is_closed, mask)) else list(filter(is_closed, mask)) or mask
    elif mask and isinstance(mask["counts"], list):
        mask = coco_mask.frPyObjects(mask, *mask["size"])
    if mask:
        result["segmentation"] = mask
    if result.get("keypoints"):  # x, y, visibility: pixel indices become coordinates
        result["keypoints"] = [
            x if k % 3 == 2 else x + 0.5 for k, x in enumerate(result["keypoints"])
        ]
    result["bbox_mode"] = BoxMode.XYWH_ABS
    result["category_id"] = labels[entry["category_id"]]
    return result
