"""Annotation files and result files in COCO format, as the columns that the metric takes.

What is wrong with a file ends in one sentence here, before anything is computed.
"""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mvit_det.errors import UserError, some
from mvit_det.evaluation.detection.matching import Detections, Objects
from mvit_det.files import read_json

logger = logging.getLogger(__name__)


class CocoTruth:
    """An annotation file: images and classes numbered by ascending id, and the objects' columns.

    Attributes:
        annotated: False for a file that only lists images, as those of test servers do.
        image_ids, category_ids: ascending; their positions are the numbers in the columns.
        names: of the classes, in that order.
        objects: all annotations of known images and classes, without masks.
    """

    def __init__(self, json_file: str | os.PathLike) -> None:
        self.json_file = json_file
        coco = read_json(json_file, "Annotation file")
        lists = coco if isinstance(coco, dict) else {}
        lacking = [key for key in ("images", "categories") if not lists.get(key)]
        if lacking:
            raise UserError(
                f"{json_file} is no COCO annotation file, since it lacks {some(map(repr, lacking))}: "
                "it must be one JSON object with the lists 'images', 'annotations' and 'categories'."
            )
        try:
            images = sorted(coco["images"], key=lambda entry: entry["id"])
            categories = sorted(coco["categories"], key=lambda entry: entry["id"])
            self.names = [entry["name"] for entry in categories]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{json_file}: each image needs an 'id' and each category an 'id' and a 'name', the "
                f"ids of one list all numbers or all texts ({error!r}): correct the entries."
            ) from error
        self.annotated = "annotations" in coco
        self.image_ids = [entry["id"] for entry in images]
        self.category_ids = [entry["id"] for entry in categories]
        self._image_number = {image_id: i for i, image_id in enumerate(self.image_ids)}
        self._label = {category_id: i for i, category_id in enumerate(self.category_ids)}
        for ids, key in ((self.image_ids, "images"), (self.category_ids, "categories")):
            repeated = [first for first, second in zip(ids, ids[1:]) if first == second]
            if repeated:
                raise UserError(
                    f"{json_file}: the list '{key}' has more than one entry with id "
                    f"{some(map(repr, dict.fromkeys(repeated)))}: give each its own."
                )
        self._sizes = [(entry.get("height"), entry.get("width")) for entry in images]
        self.objects, self._shapes = self._columns(coco.get("annotations", []))

    def has_image(self, image_id: Any) -> bool:
        """Whether the file lists that image."""
        return image_id in self._image_number

    def image_numbers(self, image_ids: Sequence[Any]) -> np.ndarray:
        """The numbers of images; a `KeyError` for an unknown one."""
        return np.array([self._image_number[i] for i in image_ids], int)

    def labels(self, category_ids: Sequence[Any]) -> np.ndarray:
        """The numbers of classes; a `KeyError` for an unknown one."""
        return np.array([self._label[i] for i in category_ids], int)

    def with_masks(self) -> Objects:
        """The objects with their masks; those without a sound one are left out and counted."""
        rows, masks = [], []
        for index, image in enumerate(self.objects.image):
            try:
                masks.append(self.rle(self._shapes[index], image)[0])
                rows.append(index)
            except ValueError:
                continue
        if len(rows) < len(self.objects):
            logger.warning(
                "%s: %d of %d annotations have no usable mask (polygons of 3 points or more, or an "
                "RLE of the image's size), and are left out of the mask metrics.",
                self.json_file,
                len(self.objects) - len(rows),
                len(self.objects),
            )
        return Objects(**{**vars(self.objects.rows(np.array(rows, int))), "masks": masks})

    def rle(self, shape: Any, image: int) -> tuple[dict[str, Any], float]:
        """A mask given as polygons or RLE (plain or compressed), of an image's number.

        Returns it as compressed RLE, and its area; a `ValueError` says why that is not possible.
        """
        height, width = self._sizes[image]
        if not shape or not isinstance(shape, (dict, list)):
            raise ValueError(f"{shape!r} is neither polygons nor RLE")
        is_rle = isinstance(shape, dict)
        if is_rle and None not in (height, width) and shape.get("size") != [height, width]:
            raise ValueError(f"its size is {shape.get('size')}, the image's {[height, width]}")
        if not is_rle and None in (height, width):
            raise ValueError("polygons need the image's height and width")
        try:
            if not is_rle:
                shape = coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
            elif isinstance(shape["counts"], list):
                shape = coco_mask.frPyObjects(shape, *shape["size"])
            return shape, float(coco_mask.area(shape))
        except Exception as error:  # pycocotools has no type for its own
            raise ValueError(str(error)) from error

    def _columns(self, annotations: list[dict[str, Any]]) -> tuple[Objects, list[Any]]:
        """The columns of the annotations, and their segmentations as they stand in the file."""
        try:
            known = [
                entry
                for entry in annotations
                if entry["image_id"] in self._image_number and entry["category_id"] in self._label
            ]
            boxes = np.array([entry["bbox"] for entry in known], float).reshape(len(known), 4)
            area = boxes[:, 2] * boxes[:, 3]
            objects = Objects(
                image=self.image_numbers([entry["image_id"] for entry in known]),
                label=self.labels([entry["category_id"] for entry in known]),
                box=boxes,
                area=np.array([e.get("area", a) for e, a in zip(known, area)], float),
                crowd=np.array([bool(entry.get("iscrowd", 0)) for entry in known], bool),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.json_file}: each annotation needs an 'image_id', a 'category_id' and a "
                f"'bbox' of four numbers ({error!r}): correct the entries."
            ) from error
        if len(known) < len(annotations):
            logger.warning(
                "%s: %d of %d annotations are of images or categories that the file does not list, "
                "and are left out.",
                self.json_file,
                len(annotations) - len(known),
                len(annotations),
            )
        return objects, [entry.get("segmentation") for entry in known]


def read_results(path: str | os.PathLike, truth: CocoTruth) -> dict[str, Detections]:
    """Detections of a result file by task: "bbox", and "segm" where all results have a mask."""
    return detections_of(read_json(path, "Result file"), truth, path)


def detections_of(results: Any, truth: CocoTruth, path: str | os.PathLike) -> dict[str, Detections]:
    """As `read_results`, of the parsed file; ``path`` names it where something is wrong."""
    if not isinstance(results, list):
        raise UserError(
            f"Result file {path} holds no list but {type(results).__name__}: COCO's result format is "
            "a list of objects with image_id, category_id, score, and bbox or segmentation."
        )
    if not results:
        raise UserError(
            f"Result file {path} is an empty list, so there is nothing to evaluate: give a file with "
            "detections."
        )
    return _Results(path, results, truth).detections()


class _Results:
    """The entries of a result file, checked all at once; a fault is told with its first entry."""

    def __init__(self, path: str | os.PathLike, results: list, truth: CocoTruth) -> None:
        self.path, self.results, self.truth = path, results, truth

    def detections(self) -> dict[str, Detections]:
        try:
            image_ids = [entry["image_id"] for entry in self.results]
            category_ids = [entry["category_id"] for entry in self.results]
            score = [entry["score"] for entry in self.results]
            boxed = ["bbox" in entry for entry in self.results]
            masked = ["segmentation" in entry for entry in self.results]
        except (KeyError, TypeError):
            self.refuse_first(_lacking)
        if not np.logical_or(boxed, masked).all() or not _finite(score, len(score)):
            self.refuse_first(_lacking)
        images = self.numbers("image_id", image_ids, self.truth.image_ids, self.truth.image_numbers)
        labels = self.numbers(
            "category_id", category_ids, self.truth.category_ids, self.truth.labels
        )
        columns = dict(image=images, label=labels, score=np.array(score, float))
        masks, areas = self.masks(images) if any(masked) else (None, None)
        outlines = None if all(boxed) else coco_mask.toBbox(masks)
        boxes = [
            e["bbox"] if b else outlines[i] for i, (e, b) in enumerate(zip(self.results, boxed))
        ]
        if not _finite(boxes, len(boxes), 4):
            self.refuse_first(_bad_box)
        boxes = np.array(boxes, float)
        found = {"bbox": Detections(box=boxes, area=boxes[:, 2] * boxes[:, 3], **columns)}
        if masks is not None:
            found["segm"] = Detections(box=boxes, area=areas, masks=masks, **columns)
        return found

    def refuse_first(self, fault: Callable[[Any], str | None]) -> None:
        for index, entry in enumerate(self.results):
            if fault(entry):
                self.refuse(index, fault(entry))

    def refuse(self, index: int, fault: str) -> None:
        raise UserError(f"Result file {self.path}: entry {index} {fault}.")

    def numbers(self, key: str, values: list, known: list, number: Callable) -> np.ndarray:
        try:
            return number(values)
        except (KeyError, TypeError):
            listed = set(known)
            strays = [v for v in values if v.__hash__ is None or v not in listed]
            raise UserError(
                f"Result file {self.path}: {len(strays)} results have {key} "
                f"{some(dict.fromkeys(map(repr, strays)))}, which {self.truth.json_file} does not "
                f"hold (it has {some(map(repr, known), 20)}): give the annotation file that the "
                "results were made for."
            ) from None

    def masks(self, images: np.ndarray) -> tuple[list[dict[str, Any]], np.ndarray]:
        masks, areas = [], []
        for index, (entry, image) in enumerate(zip(self.results, images)):
            if "segmentation" not in entry:
                self.refuse(index, "has no mask, though others have: add it, or remove theirs")
            try:
                mask, area = self.truth.rle(entry["segmentation"], image)
            except ValueError as error:
                self.refuse(index, f"has a mask that cannot be used ({error}): write an RLE")
            masks.append(mask)
            areas.append(area)
        return masks, np.array(areas)


def _finite(values: Any, *shape: int) -> bool:
    """Whether values are finite numbers, of that shape."""
    try:
        array = np.array(values)
    except ValueError:  # rows of different lengths
        return False
    return array.shape == shape and array.dtype.kind in "iuf" and bool(np.isfinite(array).all())


def _lacking(entry: Any) -> str | None:
    if not isinstance(entry, dict):
        return "is no object: write {...}"
    for key in ("image_id", "category_id", "score"):
        if key not in entry:
            return f"has no {key!r}: add it"
    if "bbox" not in entry and "segmentation" not in entry:
        return "has neither 'bbox' nor 'segmentation': add one"
    if not _finite(entry["score"]):
        return f"has score={entry['score']!r}: write a finite number"
    return None


def _bad_box(entry: dict[str, Any]) -> str | None:
    if "bbox" not in entry or _finite(entry["bbox"], 4):
        return None
    return f"has bbox={entry['bbox']!r}: write [x, y, width, height]"
