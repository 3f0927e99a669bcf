"""Annotation files in COCO's detection format."""

import datetime
import json
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode
from detectron2.utils.file_io import PathManager

logger = logging.getLogger(__name__)


def load_coco_json(
    json_file, image_root, dataset_name=None, extra_annotation_keys=None
) -> list[dict[str, Any]]:
    """Read an annotation file into Detectron2's dataset dicts, one per image, by ascending id.

    Args:
        json_file: the annotation file.
        image_root: the folder of the images; their file names are relative to it.
        dataset_name: write the classes into the metadata of this data set, and replace category ids
            by contiguous ones, 0..classes-1 in the order of the ids. None keeps the ids.
        extra_annotation_keys: entries of the annotations to keep unchanged.

    Raises:
        AssertionError: repeated annotation ids, or an annotation marked "ignore".
        ValueError: an annotation with an empty box.
        KeyError: an annotation with an unknown category id.
    """
    with PathManager.open(json_file, "rb") as file:
        coco = json.load(file)
    contiguous: dict[int, int] | None = None
    if dataset_name is not None:
        contiguous = _register_classes(dataset_name, coco["categories"])
    entries = coco.get("annotations", [])
    assert len({e["id"] for e in entries}) == len(entries), f"{json_file} repeats annotation ids."
    by_image = defaultdict(list)
    for entry in entries:
        by_image[entry["image_id"]].append(entry)
    keys = ["iscrowd", "bbox", "category_id", *(extra_annotation_keys or ())]
    records, dropped = [], 0
    for image_id, image in sorted({image["id"]: image for image in coco["images"]}.items()):
        path = os.path.join(image_root, image["file_name"])
        record = dict(file_name=path, height=image["height"], width=image["width"])
        read = [_read_annotation(entry, keys, contiguous) for entry in by_image[image_id]]
        record.update(image_id=image_id, annotations=[entry for entry in read if entry])
        dropped += read.count(None)
        records.append(record)
    logger.info(f"{json_file}: {len(records)} images in COCO format.")
    if dropped:
        logger.warning(
            f"{json_file}: dropped {dropped} annotations without a valid polygon, which has at "
            "least 3 points and an even number of coordinates."
        )
    return records


def _register_classes(dataset_name: str, categories: list[dict[str, Any]]) -> dict[int, int]:
    """Write names and ids into the metadata; return the map from ids to contiguous ids."""
    ordered = sorted(categories, key=lambda category: category["id"])
    contiguous = {category["id"]: label for label, category in enumerate(ordered)}
    names = [category["name"] for category in ordered]
    metadata = MetadataCatalog.get(dataset_name)
    metadata.set(thing_classes=names, thing_dataset_id_to_contiguous_id=contiguous)
    return contiguous


def _read_annotation(
    entry: dict[str, Any], keys: Sequence[str], contiguous: dict[int, int] | None
) -> dict[str, Any] | None:
    """Convert one annotation for a dataset dict; None if all its polygons are invalid."""
    name = f"Annotation {entry['id']} of image {entry['image_id']}"
    assert not entry.get("ignore", 0), f"{name} is marked 'ignore', which is not COCO's format."
    result = {key: entry[key] for key in keys if key in entry}
    if "bbox" in result and not result["bbox"]:
        raise ValueError(f"{name} has an empty bbox: it needs (x, y, width, height).")
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, *segmentation["size"])
    elif isinstance(segmentation, list) and segmentation:
        segmentation = [p for p in segmentation if len(p) >= 6 and len(p) % 2 == 0]
        if not segmentation:
            return None
    if segmentation:
        result["segmentation"] = segmentation
    result["bbox_mode"] = BoxMode.XYWH_ABS
    if contiguous is not None:
        category_id = entry["category_id"]
        if category_id not in contiguous:
            raise KeyError(f"{name} has category_id {category_id}, which the file does not list.")
        result["category_id"] = contiguous[category_id]
    return result


def register_coco_instances(name: str, metadata: dict[str, Any], json_file, image_root) -> None:
    """Register a COCO annotation file as the data set ``name``.

    ``metadata`` are additional entries of its metadata. The file names of the images are relative
    to ``image_root``. A name that is registered already keeps its function.
    """
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, lambda: load_coco_json(json_file, image_root, name))
    entry = MetadataCatalog.get(name)
    entry.set(json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata)


def convert_to_coco_dict(dataset_name: str) -> dict[str, Any]:
    """Convert a registered data set to the content of a COCO annotation file.

    Its metadata must have ``thing_classes``. Boxes are rounded to thousandths of a pixel; an area
    is that of the polygons or the RLE, or of the box if there is no mask.

    Raises:
        AttributeError: the metadata has no ``thing_classes``.
        ValueError: a box does not have 4 numbers.
    """
    metadata, records = MetadataCatalog.get(dataset_name), DatasetCatalog.get(dataset_name)
    names, contiguous = metadata.thing_classes, metadata.get("thing_dataset_id_to_contiguous_id")
    ids = {label: category_id for category_id, label in (contiguous or {}).items()}
    ids = ids or {label: label for label in range(len(names))}
    categories = [dict(id=ids[label], name=name) for label, name in enumerate(names)]
    images, annotations = [], list[dict[str, Any]]()
    for position, record in enumerate(records):
        image = dict(id=record.get("image_id", position))
        image |= {side: int(record[side]) for side in ("width", "height")}
        images.append(image | dict(file_name=str(record["file_name"])))
        for entry in record.get("annotations", []):
            common = dict(id=len(annotations) + 1, image_id=image["id"])
            common |= dict(category_id=int(ids[entry["category_id"]]))
            annotations.append(common | _to_coco(entry))
    logger.info(f"{dataset_name} in COCO format: {len(images)} images, {len(annotations)} objects.")
    info = dict(date_created=str(datetime.datetime.now()), description=f"from {dataset_name}")
    coco = dict(info=info, images=images, categories=categories, licenses=None)
    return coco | ({"annotations": annotations} if annotations else {})


def _to_coco(entry: dict[str, Any]) -> dict[str, Any]:
    """Convert box, area, crowd flag and mask of one annotation of a dataset dict."""
    box = np.asarray(entry["bbox"]).tolist()
    if len(box) != 4:
        raise ValueError(f"The bbox {box} must have 4 numbers.")
    box = BoxMode.convert(box, entry["bbox_mode"], BoxMode.XYWH_ABS)
    result = dict(bbox=[round(side, 3) for side in box], iscrowd=int(entry.get("iscrowd", 0)))
    mask = entry.get("segmentation")
    if mask is None:
        corners = Boxes([BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)])
        return result | dict(area=corners.area().item())
    if isinstance(mask, dict):
        counts = mask["counts"]
        text = counts.decode() if isinstance(counts, bytes) else counts
        result |= dict(segmentation=mask | dict(counts=text))
        return result | dict(area=float(coco_mask.area(mask)))
    return result | dict(area=sum(map(_polygon_area, mask)), segmentation=mask)


def _polygon_area(polygon: Sequence[float]) -> float:
    """Return the area of a flat polygon (x0, y0, x1, y1, ...) by the shoelace formula."""
    x, y = np.reshape(polygon, (-1, 2)).T
    return 0.5 * abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1)))


def convert_to_coco_json(dataset_name: str, output_file: str, allow_cached: bool = True) -> None:
    """Write ``convert_to_coco_dict`` to a file; ``allow_cached`` keeps an existing file."""
    PathManager.mkdirs(os.path.dirname(output_file) or ".")
    if allow_cached and PathManager.exists(output_file):
        logger.warning(f"Reusing {output_file}: delete it if {dataset_name} has changed.")
        return
    with PathManager.open(output_file, "w", encoding="utf-8") as file:
        json.dump(convert_to_coco_dict(dataset_name), file)
