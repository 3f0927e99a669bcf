"""Annotation files and result files in COCO format, checked, in the form that hotcoco takes.

A fault in a file raises a `UserError` before anything is computed. Images and classes are
numbered by ascending id, so that ids may be strings, have gaps, and be in any order.
"""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hotcoco import COCO
from hotcoco import mask as coco_mask

from mvit_det.coco_files import (
    distinct_names,
    is_box,
    is_real,
    mask_rle,
    read_coco_json,
    sorted_categories,
)
from mvit_det.errors import UserError, brief, shorten_list

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Detections:
    """Detections in the order of the result file, which decides among equal scores.

    Attributes:
        image: (N,) image index.
        label: (N,) class index.
        box: (N, 4) x, y, width, height in pixels.
        score: (N,).
        masks: N RLEs, or None if only boxes are evaluated.
    """

    image: np.ndarray
    label: np.ndarray
    box: np.ndarray
    score: np.ndarray
    masks: Sequence[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.image)

    def table(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return selected rows as the array (n, 7) float64 that hotcoco's `load_res` takes.

        Columns: image index, x, y, width, height, score, class index.
        """
        columns = (self.image, self.box, self.score, self.label)
        return np.column_stack([column[rows] for column in columns]).astype(float)


class CocoTruth:
    """An annotation file.

    Attributes:
        annotated: False if the file only lists images, as those of test servers do.
        image_ids: ascending; their positions are the image indices.
        category_ids: ascending; their positions are the class indices.
        names: of the classes, by class index.
        image_index: image id -> index.
        label: category id -> class index.
        file_names: of the images, by index; "" if the file does not have it.
        objects: annotations of known images and classes in COCO's form, with indices instead of
            ids, and without masks. Object i has the id i + 1.

    Raises:
        UserError: the file cannot be read, or does not have the form of COCO annotations.
    """

    def __init__(self, json_file: str | os.PathLike) -> None:
        self.json_file = json_file
        coco = read_coco_json(json_file)
        images = sorted(coco["images"], key=lambda entry: entry["id"])
        categories = sorted_categories(coco)
        self.names = distinct_names(categories)
        self.annotated = "annotations" in coco
        self.image_ids = [entry["id"] for entry in images]
        self.category_ids = [entry["id"] for entry in categories]
        self.image_index = {each: index for index, each in enumerate(self.image_ids)}
        self.label = {each: index for index, each in enumerate(self.category_ids)}
        self.file_names = [entry.get("file_name", "") for entry in images]
        self._sizes = [(entry.get("height"), entry.get("width")) for entry in images]
        self.images = [{"id": index} for index in range(len(images))]
        self.categories = [{"id": k, "name": name} for k, name in enumerate(self.names)]
        self.objects, self._shapes = self._read(coco.get("annotations", []))
        if "completed" in coco:
            counts = (f"{key} ({count})" for key, count in coco["completed"].items())
            logger.info("%s lacks %s, which were completed.", json_file, shorten_list(counts))

    def coco(self, objects: list[dict[str, Any]]) -> COCO:
        """Convert some of `objects`, with masks or without, to a hotcoco dataset."""
        return COCO(dict(images=self.images, categories=self.categories, annotations=objects))

    def with_masks(self) -> list[dict[str, Any]]:
        """Return the objects with RLE masks; skip and log those without a valid mask."""
        objects = []
        for item, shape in zip(self.objects, self._shapes):
            try:
                objects.append({**item, "segmentation": self.rle(shape, item["image_id"])})
            except ValueError:
                continue
        if len(objects) < len(self.objects):
            logger.warning(
                "%s: %d of %d annotations have no valid mask (polygons of 3 points or more, or an "
                "RLE of the image's size) and are left out of the mask metrics.",
                *(self.json_file, len(self.objects) - len(objects), len(self.objects)),
            )
        return objects

    def rle(self, shape: Any, image: int) -> dict[str, Any]:
        """Convert a mask of the image with an index to RLE, as `mask_rle` does.

        Raises:
            ValueError: the mask is malformed or of another size; the message states the reason.
        """
        return mask_rle(shape, *self._sizes[image])

    def _read(self, annotations: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Any]]:
        """Return `objects`, and their segmentations as in the file."""
        objects: list[dict[str, Any]] = []
        shapes = []
        for entry in annotations:
            image, label = entry["image_id"], entry["category_id"]
            if image not in self.image_index or label not in self.label:
                continue
            objects.append(
                dict(
                    id=len(objects) + 1,
                    image_id=self.image_index[image],
                    category_id=self.label[label],
                    bbox=[float(value) for value in entry["bbox"]],
                    area=float(entry["area"]),
                    iscrowd=entry["iscrowd"],
                )
            )
            shapes.append(entry.get("segmentation"))
        if len(objects) < len(annotations):
            logger.warning(
                "%s: %d of %d annotations are left out: the file does not list their image or "
                "category.",
                *(self.json_file, len(annotations) - len(objects), len(annotations)),
            )
        return objects, shapes


def parse_results(
    results: Any,
    truth: CocoTruth,
    path: str | os.PathLike,
    image_index: Mapping[Any, int | None] | None = None,
    labels: Mapping[Any, int | None] | None = None,
) -> Detections:
    """Convert a parsed JSON result file to detections, with masks if all results have one.

    Format: https://cocodataset.org/#format-results.

    Args:
        results: content of the file.
        truth: the annotation file.
        path: of the file, for messages.
        image_index: image index of each image id of the results, None for those to leave out; by
            default that of the annotation file.
        labels: the same for class indices and category ids.

    Raises:
        UserError: the file or one of its entries is malformed, or has an image or class that the
            annotation file does not list.
    """
    indices = image_index or truth.image_index, labels or truth.label
    if not isinstance(results, list):
        raise UserError(
            f"Result file {path} contains a {type(results).__name__} instead of a list: write a "
            "list of objects with image_id, category_id, score, and bbox or segmentation."
        )
    if not results:
        raise UserError(
            f"Result file {path} is an empty list, so there is nothing to evaluate: give a file "
            "with detections."
        )
    has_masks = any("segmentation" in entry for entry in results if isinstance(entry, dict))
    rows = []
    for number, entry in enumerate(results):
        try:
            row = _row(entry, truth, *indices, has_masks)
        except ValueError as error:
            raise UserError(f"Result file {path}: entry {number} {error}.") from error
        if row is not None:
            rows.append(row)
    if not rows:
        raise UserError(
            f"Result file {path} has no detections in the pictures of {truth.json_file}: give the "
            "annotation file of these results."
        )
    image, label, box, score = (np.array([row[column] for row in rows]) for column in range(4))
    return Detections(image, label, box, score, [row[4] for row in rows] if has_masks else None)


def _row(
    entry: Any,
    truth: CocoTruth,
    image_index: Mapping[Any, int | None],
    labels: Mapping[Any, int | None],
    has_masks: bool,
) -> tuple[int, int, Any, float, Any] | None:
    """Return image index, class index, box (4,), score and mask of an entry of a result file.

    None: its image or class is left out.

    Raises:
        ValueError: the entry is malformed; the message states the reason and the fix.
    """
    if not isinstance(entry, dict):
        raise ValueError("is not an object: write {...}")
    for key in ("image_id", "category_id", "score"):
        if key not in entry:
            raise ValueError(f"has no {key!r}: add it")
    if "bbox" not in entry and "segmentation" not in entry:
        raise ValueError("has neither 'bbox' nor 'segmentation': add one")
    if not _finite(entry["score"]):
        raise ValueError(f"has score={brief(entry['score'])}: write a finite number")
    box = entry.get("bbox", [0, 0, 0, 0])
    if not is_box(box) or not all(map(math.isfinite, box)) or min(box[2:]) < 0:
        raise ValueError(f"has bbox={brief(box)}: write [x, y, width, height]")
    indices = []
    maps: tuple[tuple[str, Mapping], ...]
    maps = ("image_id", image_index), ("category_id", labels)
    for key, index in maps:
        try:
            if isinstance(entry[key], bool):
                raise TypeError
            indices.append(index[entry[key]])
        except (KeyError, TypeError):
            raise ValueError(
                f"has {key} {brief(entry[key])}, which {truth.json_file} does not list (it has "
                f"{shorten_list(map(repr, index), 20)}): give the annotation file of these results"
            ) from None
    image, label = indices
    if image is None or label is None:
        return None
    if not has_masks:
        return image, label, np.array(box, float), float(entry["score"]), None
    if "segmentation" not in entry:
        raise ValueError("has no mask, but other entries have: add it, or remove the others")
    try:
        mask = truth.rle(entry["segmentation"], image)
    except ValueError as error:
        raise ValueError(f"has an invalid mask ({error}): write an RLE") from error
    box = box if "bbox" in entry else coco_mask.to_bbox(mask)
    return image, label, np.array(box, float), float(entry["score"]), mask


def _finite(value: Any) -> bool:
    return is_real(value) and math.isfinite(value)
