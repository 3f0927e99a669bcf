"""Checks of COCO annotation files, as pure functions on the parsed JSON.

There are two kinds of fault. If the meaning of the file is not clear (an unknown category, a box of
five numbers), `check_coco_json` refuses it. If a single annotation is bad (a box without area, an
empty polygon), `annotation_fault` names the reason, and the caller may drop it and continue.
"""

import math
import os
from collections import Counter
from collections.abc import Sequence
from numbers import Real
from typing import Any

from mvit_det.errors import UserError, shorten_list
from mvit_det.files import read_json

_FIELDS = {
    "images": ("id", "file_name", "width", "height"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
}
_SINGULAR = {"images": "image", "categories": "category", "annotations": "annotation"}


def read_coco_json(json_file: str | os.PathLike) -> dict[str, Any]:
    """Parse a COCO annotation file.

    The result is shared by all callers (`mvit_det.files.parsed_once`): do not change it.

    Raises:
        UserError: the file is absent, is not JSON, lacks one of the lists of a COCO detection file,
            or has no images or categories.
    """
    coco = read_json(json_file, "Annotation file")
    lacking = [key for key in _FIELDS if not isinstance(coco, dict) or key not in coco]
    if lacking:
        raise UserError(
            f"{json_file} is not a COCO detection file, since it lacks "
            f"{shorten_list(map(repr, lacking))}: it must be one JSON object with the lists "
            "'images', 'annotations' and 'categories'."
        )
    for key in ("images", "categories"):
        if not coco[key]:
            raise UserError(f"{json_file}: the list '{key}' is empty: add at least one entry.")
    return coco


def coco_categories(json_file: str | os.PathLike) -> list[dict[str, Any]]:
    """Return "id" and "name" of the classes by ascending id, the order of the model's outputs.

    Raises:
        UserError: as for `read_coco_json`.
    """
    entries = sorted(read_coco_json(json_file)["categories"], key=lambda entry: entry["id"])
    return [{"id": entry["id"], "name": entry["name"]} for entry in entries]


def check_coco_json(json_file: str | os.PathLike) -> dict[str, Any]:
    """Parse a COCO annotation file, and check all entries and references.

    The result is shared by all callers, as for `read_coco_json`.

    Raises:
        UserError: as for `read_coco_json`; or an entry lacks a field, an id occurs twice or is not
            defined, an image has no valid size, or a box or a mask is malformed.
    """
    coco = read_coco_json(json_file)
    for key, fields in _FIELDS.items():
        _check_entries(json_file, key, fields, coco[key])
    images = {image["id"]: image for image in coco["images"]}
    _check_references(json_file, coco, images)
    for image in coco["images"]:
        for side in ("width", "height"):
            if not _is_real(image[side]) or not image[side] > 0:
                raise UserError(
                    f"{json_file}: {_describe('images', image)} has {side}={image[side]!r}: write "
                    "the picture's size in pixels."
                )
    for annotation in coco["annotations"]:
        problem = _format_fault(annotation, images[annotation["image_id"]])
        if problem:
            raise UserError(f"{json_file}: {_describe('annotations', annotation)} {problem}.")
    return coco


def _describe(key: str, entry: dict[str, Any]) -> str:
    name = f" ({entry['file_name']!r})" if "file_name" in entry else ""
    return f"{_SINGULAR[key]} {entry['id']!r}{name}"


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_entries(json_file, key: str, fields: Sequence[str], entries: list) -> None:
    """Refuse entries that lack a field, and ids that occur twice."""
    for index, entry in enumerate(entries):
        lacking = [field for field in fields if not isinstance(entry, dict) or field not in entry]
        if lacking:
            known = isinstance(entry, dict) and "id" in entry
            name = _describe(key, entry) if known else f"{key}[{index}]"
            raise UserError(
                f"{json_file}: {name} has no {shorten_list(map(repr, lacking))}: add it."
            )
    repeated = [i for i, count in Counter(entry["id"] for entry in entries).items() if count > 1]
    if repeated:
        raise UserError(
            f"{json_file}: the list '{key}' has more than one entry with id "
            f"{shorten_list(map(repr, repeated))}: give each a different one."
        )


def _check_references(json_file, coco: dict[str, Any], images: dict) -> None:
    """Refuse annotations of a category or an image that the file does not have."""
    categories = dict.fromkeys(category["id"] for category in coco["categories"])
    for field, known in (("category_id", categories), ("image_id", images)):
        strays = [entry for entry in coco["annotations"] if entry[field] not in known]
        if strays:
            key = "categories" if field == "category_id" else "images"
            ids = shorten_list(entry["id"] for entry in strays)
            unknown = shorten_list(sorted({repr(entry[field]) for entry in strays}))
            raise UserError(
                f"{json_file}: {len(strays)} annotation(s) (id {ids}) have {field} {unknown}, "
                f"which is not in '{key}' (ids there: {shorten_list(map(repr, known), 20)}): "
                "correct them or add the entry."
            )


def _format_fault(annotation: dict[str, Any], image: dict[str, Any]) -> str | None:
    """Describe what is malformed in an annotation, with the fix; None if it is well-formed."""
    box = annotation["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_real, box)):
        return f"has bbox={box!r}: it must be four numbers [x, y, width, height] in pixels"
    if annotation.get("ignore"):
        return "is marked 'ignore', which Detectron2 does not read: set iscrowd=1 or remove it"
    mask = annotation.get("segmentation")
    if isinstance(mask, dict) and mask:
        if not {"counts", "size"} <= mask.keys():
            return "has an RLE mask without 'counts' or 'size': write both"
        if list(mask["size"]) != [image["height"], image["width"]]:
            return (
                f"has an RLE mask of size {mask['size']} in an image of height {image['height']} "
                f"and width {image['width']}: correct one of them"
            )
    elif mask and not (
        isinstance(mask, list)
        and all(isinstance(part, list) and all(map(_is_real, part)) for part in mask)
    ):
        return "has a segmentation that is not a list of polygons [[x1, y1, x2, y2, ...], ...]"
    return None


def annotation_fault(
    box: Sequence[float], mask: Any, width: float, height: float, need_mask: bool
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
    if polygons and not any(len(part) >= 6 and len(part) % 2 == 0 for part in polygons):
        return "polygon of fewer than 3 points or of odd length"
    if not all(math.isfinite(value) for part in polygons for value in part):
        return "polygon with NaN or infinity"
    return "no segmentation" if need_mask and not mask else None
