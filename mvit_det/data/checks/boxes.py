"""Checks of annotated pictures: COCO files, and data sets registered in Detectron2."""

import heapq
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from hotcoco import mask as coco_mask

from mvit_det.coco_files import mask_rle
from mvit_det.data.checks.findings import Box, FileCheck, FileReport, Finding, Severity
from mvit_det.data.checks.pictures import Picture, read_picture
from mvit_det.data.detection.annotations import annotation_fault, usable_entries
from mvit_det.data.image_files import missing_files

Entry = Mapping[str, Any]
Scales = Callable[[int, int], tuple[float, float]]  # of width and height, from both in pixels
SMALL = 8  # pixels after resizing for the test: the root of the area of an object
_MANY = 0.1  # share of small objects that is a warning
_SHOWN = 24  # smallest objects that are shown
_BEYOND = 1.5  # pixels: annotation tools round to whole ones
_ALIKE = 0.5  # IoU of a box and that of its mask; below it one of them is of something else
_SIDES = {"images": "image_id", "annotations": "annotation_id", "categories": "category_id"}
_MIRRORED = (2, 3, 4)  # EXIF orientations that keep width and height


@dataclass(frozen=True)
class BoxedPictureCheck:
    """The check of a picture and of its annotations.

    Attributes:
        path: of the picture.
        source: the annotation file, or the name of the data set.
        image: its entry, with "id" and, if they are known, "width" and "height".
        annotations: its entries, with "id", "bbox" (x, y, width, height) and "category_id".
        masks: whether masks are trained, so that each annotation needs one.
    """

    path: str
    source: str
    image: Entry
    annotations: Sequence[Entry]
    masks: bool

    def run(self) -> FileReport:
        """Decode the picture, and check the annotations against its annotated size."""
        read = read_picture(self.path, image_id=self.image["id"])
        width, height = self.image.get("width"), self.image.get("height")
        findings = [*read.findings, *self._size(read)]
        size = (width, height) if width and height else read.size
        if size:
            findings += self._annotations(*size)
        return FileReport(findings, read.digest, read.hash)

    def _finding(
        self, severity: Severity, kind: str, message: str, annotation: Entry | None = None
    ) -> Finding:
        ids = {"image_id": self.image["id"]}
        if annotation is None:
            return Finding(severity, kind, message, self.path, ids, picture=self.path)
        ids["annotation_id"] = annotation["id"]
        x, y, w, h = annotation["bbox"]
        box = (x, y, x + w, y + h) if np.isfinite((x, y, w, h)).all() else None
        return Finding(severity, kind, message, self.source, ids, self.path, box)

    def _size(self, read: Picture) -> Iterator[Finding]:
        """Yield what contradicts the annotated size."""
        annotated = self.image.get("width"), self.image.get("height")
        if read.size is None or None in annotated:
            return
        found, given = (f"{width} x {height} pixels" for width, height in (read.size, annotated))
        if read.size == annotated:
            if read.orientation in _MIRRORED and self.annotations:
                message = (
                    f"its EXIF orientation {read.orientation} turns or mirrors it: make sure that "
                    "it was annotated upright, or save it without the tag"
                )
                yield self._finding("warning", "EXIF orientation", message)
        elif read.size == annotated[::-1] and read.orientation > 4:
            message = (
                f"its EXIF orientation {read.orientation} turns it to {found}, but it is annotated "
                f"as {given}, so that training skips it: save it without the tag, or annotate it "
                "upright"
            )
            yield self._finding("error", "EXIF orientation", message)
        else:
            message = (
                f"it has {found}, but is annotated as {given}, so that training skips it: correct "
                "width and height, or use the picture that was annotated"
            )
            yield self._finding("error", "picture of another size", message)

    def _annotations(self, width: int, height: int) -> Iterator[Finding]:
        """Yield the faults of the annotations."""
        seen = defaultdict(list)
        for entry in self.annotations:
            box = entry["bbox"]
            mask = entry.get("segmentation") if self.masks else None
            fault = annotation_fault(box, mask, width, height, self.masks)
            where = f"of the picture of {width} x {height} pixels"
            if fault:
                message = (
                    f"{fault} ({box}, {where}), so that training drops it: correct or remove it"
                )
                yield self._finding("error", fault, message, entry)
                continue
            if mask:
                yield from self._mask(entry, mask, width, height)
            x, y, w, h = box
            beyond = max(-x, -y, x + w - width, y + h - height)
            if beyond > _BEYOND:
                message = (
                    f"the box {box} reaches {beyond:g} pixels out {where}, and is cut there: "
                    "correct it"
                )
                yield self._finding("warning", "box beyond the picture", message, entry)
            seen[(entry["category_id"], *box)].append(entry)
        for entries in seen.values():
            if len(entries) > 1:
                others = [entry["id"] for entry in entries[1:]]
                message = f"it has the box and class of annotation {others[0]!r}: remove one"
                yield self._finding("warning", "annotated twice", message, entries[0])

    def _mask(self, entry: Entry, mask: Any, width: int, height: int) -> Iterator[Finding]:
        """Yield what is wrong with a well-formed mask."""
        try:
            box = _mask_box(mask, height, width)
        except ValueError as error:
            message = f"its mask cannot be decoded ({error}): correct or remove it"
            yield self._finding("error", "broken mask", message, entry)
            return
        if box is None:
            message = "its mask has no pixel in the picture, so that nothing is learned from it"
            yield self._finding("error", "empty mask", f"{message}: correct or remove it", entry)
            return
        beyond = max(-box[0], -box[1], box[2] - width, box[3] - height)
        if beyond > _BEYOND:
            message = (
                f"its mask reaches {beyond:g} pixels out of the picture of {width} x {height} "
                "pixels, and is cut there: correct it"
            )
            yield self._finding("warning", "mask beyond the picture", message, entry)
        x, y, w, h = entry["bbox"]
        if not entry.get("iscrowd") and _overlap((x, y, x + w, y + h), box) < _ALIKE:
            left, top, right, bottom = (round(value, 1) for value in box)
            message = (
                f"the box {entry['bbox']} is not that of its mask, "
                f"{[left, top, right - left, bottom - top]}: correct one of them"
            )
            yield self._finding("warning", "box unlike its mask", message, entry)


def _mask_box(mask: Any, height: int, width: int) -> Box | None:
    """Return the corners of a mask in pixels, those of polygons also beyond the picture.

    Raises:
        ValueError: the mask cannot be decoded.
    """
    if isinstance(mask, list):
        mask = [part for part in mask if len(part) >= 6 and len(part) % 2 == 0]
        points = np.concatenate([np.reshape(part, (-1, 2)) for part in mask])
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        if left >= width or top >= height or right <= 0 or bottom <= 0:
            return None
        return left, top, right, bottom
    x, y, w, h = coco_mask.to_bbox(mask_rle(mask, height, width)).tolist()
    return (x, y, x + w, y + h) if w and h else None


def _overlap(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return common / max(areas - common, 1e-9)


def check_boxes(
    node: Mapping[str, Any],
    dicts: Sequence[Entry] | None,
    scales: Scales,
) -> Iterator[Finding | FileCheck]:
    """Yield the faults of an annotation file, and the checks of its pictures.

    Args:
        node: the arguments of `coco_dataset` or `named_dataset`.
        dicts: the data set itself, if it is of another function; None.
        scales: maps width and height of a picture to the scales of both in the test.

    Raises:
        UserError: the file cannot be read, or not one picture is found.
    """
    masks = bool(node.get("masks", True))
    if dicts is not None:
        yield from _check_pictures(str(node.get("name", "")), *_from_dicts(dicts), False, scales)
        return
    names = node.get("names") or []
    sources = [(node.get("json_file"), node.get("image_root"), "")]
    for name in [names] if isinstance(names, str) else names:
        known = MetadataCatalog.get(name)
        sources.append((known.get("json_file", None), known.get("image_root", None), name))
    for file, root, name in sources:
        if file and os.path.isfile(file):
            yield from check_coco_file(file, root or "", masks, scales)
        elif not file and name in DatasetCatalog.list():
            yield from _check_pictures(name, *_from_dicts(DatasetCatalog.get(name)), masks, scales)


def check_coco_file(
    file: str, root: str, masks: bool | None, scales: Scales
) -> Iterator[Finding | FileCheck]:
    """Yield the faults of a COCO file, and the checks of its pictures.

    Args:
        file: the COCO file.
        root: folder of the pictures.
        masks: whether masks are trained; None: if there are any.
        scales: as for `check_boxes`.

    Raises:
        UserError: the file cannot be read, or not one picture is found.
    """
    faults: list[Finding] = []

    def report(sentence: str, key: str, entries: Sequence[Any]) -> None:
        ids = [entry.get("id") for entry in entries if isinstance(entry, dict)]
        named = {_SIDES[key]: ids[0] if len(ids) == 1 else ids} if ids else {}
        message = sentence.removeprefix(f"{file}: ").removesuffix(".")
        faults.append(Finding("error", "annotation format", message, file, named))

    coco = usable_entries(file, report)
    yield from faults
    images = [
        {**each, "file_name": os.path.join(root, each["file_name"])} for each in coco["images"]
    ]
    missing_files([each["file_name"] for each in images], root)
    if masks is None:
        masks = any(entry.get("segmentation") for entry in coco["annotations"])
    yield from _check_pictures(file, images, coco["annotations"], masks, scales)


def _check_pictures(
    source: str, images: Sequence[Entry], annotations: Sequence[Entry], masks: bool, scales: Scales
) -> Iterator[Finding | FileCheck]:
    by_image = defaultdict(list)
    for entry in annotations:
        by_image[entry["image_id"]].append(entry)
    yield from _small_objects(source, images, by_image, lru_cache(maxsize=None)(scales))
    for image in images:
        yield BoxedPictureCheck(image["file_name"], source, image, by_image[image["id"]], masks)


def _small_objects(
    source: str, images: Sequence[Entry], by_image: Mapping[Any, list[Entry]], scales: Scales
) -> Iterator[Finding]:
    """Yield the share of objects that are small at the size of the test, and the smallest ones."""
    total, small = 0, 0
    smallest: list[tuple[float, int, Finding]] = []
    for image in images:
        if not image.get("width") or not image.get("height"):
            continue
        across, down = scales(image["width"], image["height"])
        for entry in by_image[image["id"]]:
            x, y, w, h = entry["bbox"]
            if entry.get("iscrowd") or not (w > 0 and h > 0):
                continue
            total += 1
            side = float(np.sqrt(w * h * across * down))
            if side >= SMALL:
                continue
            small += 1
            message = f"the object is {side:.1f} pixels large at the size of the test"
            ids = {"image_id": image["id"], "annotation_id": entry["id"]}
            path, box = image["file_name"], (x, y, x + w, y + h)
            found = Finding("note", "small object", message, source, ids, path, box, rank=side)
            place = heapq.heappushpop if len(smallest) == _SHOWN else heapq.heappush
            place(smallest, (-side, -total, found))
    yield from (found for *_, found in sorted(smallest, reverse=True))
    if small:
        message = (
            f"{small} of {total} objects ({small / total:.0%}) are smaller than {SMALL} pixels at "
            "the size of the test, where few are found: raise the size of both mappers, or cut the "
            "pictures into tiles"
        )
        severity: Severity = "warning" if small >= _MANY * total else "note"
        yield Finding(severity, "small objects", message, source)


def _from_dicts(dicts: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Convert Detectron2's dataset dicts to the images and annotations of a COCO file."""
    images: list[Entry] = []
    annotations: list[Entry] = []
    for index, each in enumerate(dicts):
        image = {key: each[key] for key in ("file_name", "width", "height") if key in each}
        images.append({**image, "id": each.get("image_id", index)})
        for number, entry in enumerate(each.get("annotations", [])):
            box = BoxMode.convert(entry["bbox"], entry["bbox_mode"], BoxMode.XYWH_ABS)
            more = dict(id=entry.get("id", f"#{number}"), bbox=list(box), image_id=images[-1]["id"])
            annotations.append({**entry, **more})
    return images, annotations
