"""Checks of COCO annotation files, as pure functions on the parsed JSON.

There are two kinds of fault. If the meaning of the file is not clear (an unknown category, a box of
five numbers), `check_coco_json` refuses it. If a single annotation is bad (a box without area, an
empty polygon), `annotation_fault` names the reason, and the caller may drop it and continue.
"""

import math
import os
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from mvit_det.coco_files import (
    Entry,
    Polygon,
    Report,
    check_fields,
    check_ids,
    check_lists,
    describe,
    distinct_names,
    is_real,
    mask_rle,
    parse_coco_json,
    read_coco_json,
    refuse,
    sorted_categories,
)
from mvit_det.errors import brief, shorten_list
from mvit_det.files import parsed_once

_FIELDS = {"images": ("file_name", "width", "height"), "annotations": ("id",)}
# pixels; rasterizing takes time and memory in proportion to the coordinates of a polygon
_FARTHEST = 10**6


def coco_categories(json_file: str | os.PathLike) -> list[dict[str, Any]]:
    """Return "id" and "name" of the classes by ascending id, the order of the model's outputs.

    Raises:
        UserError: as for `read_coco_json`.
    """
    entries = sorted_categories(read_coco_json(json_file))
    names = distinct_names(entries)
    return [{"id": entry["id"], "name": name} for entry, name in zip(entries, names)]


@parsed_once
def check_coco_json(json_file: str | os.PathLike, annotated: bool = True) -> dict[str, Any]:
    """Parse a COCO annotation file, and check all entries and references.

    The result is shared by all callers, as for `read_coco_json`.

    Args:
        json_file: path of the file.
        annotated: False: "annotations" may be absent, as in COCO's image_info files, and are then
            an empty list in the result.

    Raises:
        UserError: as for `read_coco_json`; or an entry lacks a field that training needs, an id of
            an annotation occurs twice, one of an image or category is not defined, or a mask has
            another size than its image.
    """
    coco = read_coco_json(json_file)
    if not annotated:
        coco = {"annotations": [], **coco}
    return _checked(json_file, coco, refuse)


def usable_entries(json_file: str | os.PathLike, report: Report) -> Entry:
    """Parse and check a file as `check_coco_json` does, but report all faults.

    Args:
        json_file: COCO annotation file.
        report: called with each sentence, the list and its entries, which are then left out.

    Raises:
        UserError: the file is absent, is not JSON, or lacks the lists.
    """
    return _checked(json_file, parse_coco_json(json_file, report), report)


def _checked(json_file, coco: Entry, report: Report) -> Entry:
    check_lists(json_file, coco)
    coco = dict(coco)
    for key, fields in _FIELDS.items():
        coco[key] = check_fields(json_file, key, fields, coco[key], report)
    annotations = check_ids(json_file, "annotations", coco["annotations"], report)
    images = {image["id"]: image for image in coco["images"]}
    annotations = _with_references(json_file, coco, annotations, images, report)
    coco["annotations"] = []
    for annotation in annotations:
        problem = _format_fault(annotation, images[annotation["image_id"]])
        if problem:
            sentence = f"{json_file}: {describe('annotations', annotation)} {problem}."
            report(sentence, "annotations", [annotation])
        else:
            coco["annotations"].append(annotation)
    return coco


def _with_references(
    json_file, coco: Entry, annotations: list[Entry], images: dict, report: Report
) -> list[Entry]:
    """Report annotations of a category or an image that the file does not have; return others."""
    categories = dict.fromkeys(category["id"] for category in coco["categories"])
    for field, known in (("category_id", categories), ("image_id", images)):
        strays = [entry for entry in annotations if entry[field] not in known]
        if strays:
            key = "categories" if field == "category_id" else "images"
            ids = shorten_list(entry["id"] for entry in strays)
            unknown = shorten_list(sorted({brief(entry[field]) for entry in strays}))
            report(
                f"{json_file}: {len(strays)} annotation(s) (id {ids}) have {field} {unknown}, "
                f"which is not in '{key}' (ids there: {shorten_list(map(repr, known), 20)}): "
                "correct them or add the entry.",
                "annotations",
                strays,
            )
            annotations = [entry for entry in annotations if entry[field] in known]
    return annotations


def _format_fault(annotation: dict[str, Any], image: dict[str, Any]) -> str | None:
    """Describe what training cannot take in an annotation, with the fix; None if it can."""
    if annotation.get("ignore"):
        return "is marked 'ignore', which Detectron2 does not read: set iscrowd=1 or remove it"
    points = annotation.get("keypoints")
    if points and (not isinstance(points, list) or not all(map(is_real, points))):
        return f"has keypoints={brief(points)}: write numbers [x1, y1, visibility1, ...]"
    mask = annotation.get("segmentation")
    if isinstance(mask, dict) and mask and mask["size"] != [image["height"], image["width"]]:
        return (
            f"has an RLE mask of size {brief(mask['size'])} in an image of height "
            f"{image['height']} and width {image['width']}: correct one of them"
        )
    return None


def suspect_masks(masks: Iterable[Any]) -> set[int]:
    """Return the `id` of masks whose numbers must be looked at one by one.

    The numbers of all others, seen together in arrays, are finite and near the picture.

    Args:
        masks: as for `annotation_fault`; they must stay alive as long as the result is used.
    """
    suspects: set[int] = set()
    rest = (mask for mask in masks if mask and isinstance(mask, list))
    while some := list(islice(rest, 4096)):
        parts = [part for mask in some for part in mask]
        plain = not all(isinstance(part, Polygon) for part in parts)
        if plain or not (np.abs(np.frombuffer(b"".join(parts))) <= _FARTHEST).all():
            suspects.update(map(id, some))
    return suspects


def annotation_fault(
    box: Sequence[float],
    mask: Any,
    width: float,
    height: float,
    need_mask: bool,
    suspect: bool = True,
) -> str | None:
    """Return why a well-formed annotation cannot be used for training; None if it can be.

    A box that is partly inside the image can be used: the mapper clips it. One of negative size
    cannot, since Detectron2 would train on the mirrored box.

    Args:
        box: x, y, width, height in pixels.
        mask: a list of polygons [x1, y1, x2, y2, ...], an RLE dict, or empty.
        width: of the image in pixels.
        height: of the image in pixels.
        need_mask: whether an annotation without a mask is bad.
        suspect: False: the mask is none of `suspect_masks`.
    """
    x, y, w, h = box
    polygons = mask if isinstance(mask, list) else []
    if not all(map(math.isfinite, box)):
        return "box with NaN or infinity"
    if w < 0 or h < 0:
        return "box of negative width or height"
    if w == 0 or h == 0:
        return "box without area"
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return "box outside the image"
    # Detectron2's loader drops these even where only boxes are trained.
    if polygons and not any(map(is_closed, polygons)):
        return "polygon of fewer than 3 points or of odd length"
    if suspect and not all(math.isfinite(value) for part in polygons for value in part):
        return "polygon with NaN or infinity"
    if suspect and any(abs(value) > _FARTHEST for part in polygons for value in part):
        return "polygon far outside the image"
    if isinstance(mask, dict) and mask and not _is_whole_rle(mask):
        return "broken RLE mask"
    return "no segmentation" if need_mask and not mask else None


def is_closed(polygon: Sequence[float]) -> bool:
    """Return whether coordinates x1, y1, ... are those of 3 points or more."""
    return len(polygon) >= 6 and len(polygon) % 2 == 0


def _is_whole_rle(mask: dict[str, Any]) -> bool:
    """Return whether counts can be decoded; uncompressed ones must cover the image as well."""
    try:
        mask_rle(mask, None, None)
    except ValueError:
        return False
    return not isinstance(mask["counts"], list) or sum(mask["counts"]) == math.prod(mask["size"])
