"""COCO annotation files: one reader for training and evaluation, which completes or refuses values.

What follows from the rest of the file is completed: the area and the box of a mask, ``iscrowd``,
lists that are written as objects (as LIVECell's annotations), whole numbers with a point. Any other
value of the wrong kind is refused in one sentence with the id of its entry.
"""

import math
import os
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from hotcoco import mask as coco_mask

from mvit_det.errors import UserError, brief, shorten_list
from mvit_det.files import parse_json, parsed_once

# required by every reader; a box may be completed
_FIELDS = {
    "images": ("id",),
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id"),
}
_SINGULAR = {"images": "image", "categories": "category", "annotations": "annotation"}
_CROWD: dict[Any, int] = {None: 0, 0: 0, 1: 1, "0": 0, "1": 1, "false": 0, "true": 1}
MAX_SIDE = 65_535  # of a picture in pixels: JPEG's limit, and within that of RLE
_MAX_NUMBER = 2**63
_FLOATS = {float}

Entry = dict[str, Any]
# called with a sentence, the name of a list, and the entries of it that cannot be used
Report = Callable[[str, str, Sequence[Any]], None]


class Polygon(array):
    """Coordinates x1, y1, x2, y2, ... of float64 in pixels; equals a list of the same numbers.

    A list takes four times as much memory.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self.tolist() == (other.tolist() if isinstance(other, array) else other)

    __hash__ = None  # type: ignore[assignment]  # as of a list


def refuse(sentence: str, key: str, entries: Sequence[Any]) -> NoReturn:
    """Raise a `UserError` for the first fault: the default `Report`."""
    raise UserError(sentence)


@parsed_once
def read_coco_json(json_file: str | os.PathLike) -> dict[str, Any]:
    """Parse a COCO annotation file; complete or check the values of its entries.

    The result is shared by all callers (`mvit_det.files.parsed_once`): do not change it.

    Returns:
        The content. "images", "categories" and, if present, "annotations" are lists of objects with
        ids of one kind, "bbox" is four numbers, "area" a finite number, "iscrowd" 0 or 1, and
        "completed", if present, maps names of completed fields to their numbers.

    Raises:
        UserError: the file is absent or is not JSON, has no images or categories, an entry lacks a
            field, a value is of the wrong kind, or an id of an image or category occurs twice.
    """
    return parse_coco_json(json_file, refuse)


def parse_coco_json(json_file: str | os.PathLike, report: Report) -> Entry:
    """Parse a file as `read_coco_json` does, without the entries that ``report`` is called with.

    Raises:
        UserError: the file is absent, is not JSON, or lacks the lists.
    """
    coco = _with_lists(json_file, parse_json(json_file, "Annotation file", _with_polygons))
    for key, fields in _FIELDS.items():
        if key in coco:
            coco[key] = check_fields(json_file, key, fields, coco[key], report)
    for key in ("images", "categories"):
        coco[key] = check_ids(json_file, key, coco[key], report)
    completed: Counter[str] = Counter()
    check = {"images": _image, "categories": _category}
    for key, complete in check.items():
        coco[key] = _checked(json_file, key, coco[key], report, complete, completed)
    if "annotations" in coco:
        sizes = {each["id"]: (each.get("height"), each.get("width")) for each in coco["images"]}
        coco["annotations"] = _checked(
            json_file, "annotations", coco["annotations"], report, _annotation, completed, sizes
        )
    return {**coco, "completed": dict(completed)} if completed else coco


def _with_polygons(entry: Entry) -> Entry:
    """Convert polygons of an annotation that are lists of floats to `Polygon`."""
    mask = entry.get("segmentation")
    if type(mask) is list:
        for index, part in enumerate(mask):
            # an integer stays one, which Detectron2's transforms round
            if type(part) is list and set(map(type, part)) == _FLOATS:
                mask[index] = Polygon("d", part)
    return entry


def _with_lists(json_file, coco: Any) -> dict[str, Any]:
    """Return the content with lists of entries; refuse what is not a COCO detection file."""
    coco = {k: v for k, v in coco.items() if v is not None} if isinstance(coco, dict) else {}
    if "images" not in coco or "categories" not in coco:
        check_lists(json_file, coco)
    for key in coco.keys() & _FIELDS.keys():
        if isinstance(coco[key], dict):
            coco[key] = list(coco[key].values())
        if not isinstance(coco[key], list):
            raise UserError(
                f"{json_file}: {key!r} is {type(coco[key]).__name__} instead of a list: write "
                "[{...}, ...]."
            )
        if not coco[key] and key != "annotations":
            raise UserError(f"{json_file}: the list '{key}' is empty: add at least one entry.")
    return coco


def check_lists(json_file, coco: Mapping[str, Any]) -> None:
    """Refuse a file that lacks one of the lists, annotations included."""
    lacking = [key for key in _FIELDS if key not in coco]
    if lacking:
        raise UserError(
            f"{json_file} is not a COCO detection file, since it lacks "
            f"{shorten_list(map(repr, lacking))}: it must be one JSON object with the lists "
            "'images', 'annotations' and 'categories'."
        )


def check_fields(
    json_file, key: str, fields: Sequence[str], entries: Sequence[Any], report: Report = refuse
) -> list[Entry]:
    """Report entries of the list ``key`` that are no objects or lack a field; return the others."""
    kept, needed = [], set(fields)
    for index, entry in enumerate(entries):
        if isinstance(entry, dict) and needed <= entry.keys():
            kept.append(entry)
            continue
        lacking = [field for field in fields if not isinstance(entry, dict) or field not in entry]
        name = describe(key, entry) if isinstance(entry, dict) and "id" in entry else ""
        listed = shorten_list(map(repr, lacking))
        report(f"{json_file}: {name or f'{key}[{index}]'} has no {listed}: add it.", key, [entry])
    return kept


def check_ids(
    json_file, key: str, entries: Sequence[Entry], report: Report = refuse
) -> list[Entry]:
    """Report ids of the list ``key`` that are no number or text, of two kinds, or repeated.

    Returns:
        The entries with ids of the kind of the first one; of repeated ones the first.
    """
    right = [entry for entry in entries if _is_id(entry["id"])]
    kinds = {isinstance(entry["id"], str) for entry in right}
    if len(right) < len(entries) or len(kinds) > 1:
        text = bool(right) and isinstance(right[0]["id"], str)
        alike = [entry for entry in right if isinstance(entry["id"], str) == text]
        others = [entry for entry in right if isinstance(entry["id"], str) != text]
        wrong = [entry for entry in entries if not _is_id(entry["id"])]
        shown = wrong or [*right[:1], *others[:1]]
        wrong = wrong or others
        listed = shorten_list(brief(entry["id"]) for entry in shown)
        report(
            f"{json_file}: the ids of a list must be all numbers or all strings, but '{key}' has "
            f"{listed}: correct the entries.",
            key,
            wrong,
        )
        right = alike
    kept = {entry["id"]: entry for entry in reversed(right)}
    if len(kept) < len(right):
        count = Counter(entry["id"] for entry in right)
        repeated = [each for each, times in count.items() if times > 1]
        report(
            f"{json_file}: the list '{key}' has more than one entry with id "
            f"{shorten_list(map(brief, repeated))}: give each a different one.",
            key,
            [entry for entry in right if count[entry["id"]] > 1],
        )
        right = list(reversed(kept.values()))
    return right


def describe(key: str, entry: Mapping[str, Any]) -> str:
    """Name an entry of the list ``key`` by its id, and a picture by its file as well."""
    name = f" ({brief(entry['file_name'])})" if "file_name" in entry else ""
    identity = (
        f" {brief(entry['id'])}" if "id" in entry else f" of image {brief(entry.get('image_id'))}"
    )
    return f"{_SINGULAR[key]}{identity}{name}"


def sorted_categories(coco: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the categories of a file by ascending id, the order of the model's outputs."""
    return sorted(coco["categories"], key=lambda entry: entry["id"])


def distinct_names(categories: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of categories; one that occurs twice gets its id: "fig (3)"."""
    count = Counter(entry["name"] for entry in categories)
    names = [
        entry["name"] if count[entry["name"]] == 1 else f"{entry['name']} ({entry['id']})"
        for entry in categories
    ]
    return names if len(set(names)) == len(names) else [f"{n} ({k})" for k, n in enumerate(names)]


def is_real(value: Any) -> bool:
    """Return whether a JSON value is a number that fits a float; NaN and infinity are."""
    return type(value) is float or (type(value) is int and abs(value) < _MAX_NUMBER)


def is_box(value: Any) -> bool:
    """Return whether a JSON value is a list of four numbers."""
    return isinstance(value, list) and len(value) == 4 and are_real(value)


def are_real(values: Sequence[Any]) -> bool:
    """Return whether all values are as `is_real` tells, which takes longer one by one."""
    return set(map(type, values)) == _FLOATS or all(map(is_real, values))


def mask_rle(mask: Any, height: int | None, width: int | None) -> dict[str, Any]:
    """Convert a mask, given as polygons in pixels or as RLE, plain or compressed, to RLE.

    Args:
        mask: the "segmentation" of an annotation or a result.
        height: of the picture in pixels; None if unknown.
        width: the same.

    Returns:
        A dict with "size" [height, width] in pixels and "counts".

    Raises:
        ValueError: the mask is malformed or of another size; the message states the reason.
    """
    size = [height, width]
    if not mask or not isinstance(mask, (dict, list)):
        raise ValueError(f"{brief(mask)} is neither polygons nor RLE")
    try:
        if isinstance(mask, dict):
            if None not in size and mask.get("size") != size:
                raise ValueError(f"its size is {brief(mask.get('size'))}, the image's {size}")
            coco_mask.area(mask)  # raises if it is malformed
            return mask
        if height is None or width is None:
            raise ValueError("polygons need the image's height and width")
        if min(map(len, mask)) < 6:
            raise ValueError("a polygon needs 3 points or more")
        parts = [part.tolist() if isinstance(part, Polygon) else part for part in mask]
        return coco_mask.merge(coco_mask.frPyObjects(parts, height, width))
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error


def _is_id(value: Any) -> bool:
    if type(value) is int:  # nearly always
        return True
    return (is_real(value) and math.isfinite(value)) or (isinstance(value, str) and _is_text(value))


def _is_text(value: str) -> bool:
    """Return whether text can be printed, and be part of a path."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return "\0" not in value


def _checked(
    json_file, key: str, entries: Sequence[Entry], report: Report, complete: Any, *more: Any
) -> list[Entry]:
    """Return entries, completed if need be; report those for which that is not possible."""
    kept = []
    for entry in entries:
        try:
            changes = complete(entry, *more)
        except ValueError as error:
            report(f"{json_file}: {describe(key, entry)} {error}.", key, [entry])
        else:
            kept.append({**entry, **changes} if changes else entry)
    return kept


def _image(image: dict[str, Any], completed: Counter) -> dict[str, Any]:
    """Check the fields of an image, and return those that change.

    Raises:
        ValueError: a value is of the wrong kind; the message is the fault and the fix.
    """
    name = image.get("file_name", "x")
    if not isinstance(name, str) or not name or not _is_text(name):
        raise ValueError("has a file_name that is not the name of a file: write text")
    changes = {}
    for side in ("width", "height"):
        value = image.get(side, 1)
        if not is_real(value) or not 1 <= value <= MAX_SIDE or value % 1:
            raise ValueError(
                f"has {side}={brief(value)}: write the picture's size in pixels, 1 to {MAX_SIDE}"
            )
        if type(value) is float:
            changes[side] = int(value)
            completed[side] += 1
    return changes


def _category(category: dict[str, Any], completed: Counter) -> dict[str, Any]:
    """Check the name of a category as `_image` does; a number becomes text."""
    name = category["name"]
    if isinstance(name, str) and _is_text(name):
        return {}
    if not is_real(name):
        raise ValueError(f"has name={brief(name)}: write text")
    completed["name"] += 1
    return {"name": str(name)}


def _annotation(annotation: dict[str, Any], completed: Counter, sizes: dict) -> dict[str, Any]:
    """Check the fields of an annotation as `_image` does; complete box, area and iscrowd."""
    for key in ("id", "image_id", "category_id"):
        if not _is_id(annotation.get(key, 0)):
            raise ValueError(f"has {key}={brief(annotation[key])}: write a number or text")
    mask = annotation.get("segmentation")
    _check_mask_form(mask)
    box: Any = annotation.get("bbox")
    changes: dict[str, Any] = {}
    if mask and (box is None or box == []):
        box = changes["bbox"] = _mask_box(mask)
    if not is_box(box):
        what = "no 'bbox'" if box is None else f"bbox={brief(box)}"
        raise ValueError(f"has {what}: it must be four numbers [x, y, width, height] in pixels")
    crowd = annotation.get("iscrowd")
    crowd = crowd.lower() if isinstance(crowd, str) else crowd
    if isinstance(crowd, (list, dict)) or crowd not in _CROWD:
        raise ValueError(f"has iscrowd={brief(crowd)}: write 0, or 1 for a group of objects")
    if type(annotation.get("iscrowd")) is not int:
        changes["iscrowd"] = _CROWD[crowd]
    if not _is_area(annotation.get("area")):
        changes["area"] = _area(mask, box, *sizes.get(annotation["image_id"], (None, None)))
    if changes:
        completed.update(changes.keys())
    return changes


def _is_area(value: Any) -> bool:
    return is_real(value) and 0 <= value < math.inf


def _check_mask_form(mask: Any) -> None:
    """Refuse a mask that is neither polygons nor RLE; whether it can be used is not checked."""
    if isinstance(mask, dict) and mask:
        if not {"counts", "size"} <= mask.keys():
            raise ValueError("has an RLE mask without 'counts' or 'size': write both")
    elif mask and not (isinstance(mask, list) and all(map(_is_polygon, mask))):
        raise ValueError(
            "has a segmentation that is not a list of polygons [[x1, y1, x2, y2, ...], ...]"
        )


def _is_polygon(part: Any) -> bool:
    return type(part) is Polygon or (isinstance(part, list) and are_real(part))


def _mask_box(mask: Any) -> list[float]:
    """Return x, y, width, height of a mask in pixels."""
    if isinstance(mask, dict):
        try:
            return coco_mask.to_bbox(mask_rle(mask, None, None)).tolist()
        except ValueError as error:
            raise ValueError(f"has no 'bbox' and a broken mask ({error}): write one") from error
    xs = [x for part in mask for x in part[::2]]
    ys = [y for part in mask for y in part[1::2]]
    if not xs or not ys:
        raise ValueError("has neither a 'bbox' nor a polygon with points: add one of them")
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _area(mask: Any, box: Sequence[float], height: int | None, width: int | None) -> float:
    """Return the area of a mask in pixels; of the box if the mask is absent or broken."""
    try:
        return float(coco_mask.area(mask_rle(mask, height, width)))
    except ValueError:
        area = max(box[2], 0) * max(box[3], 0)
        return area if math.isfinite(area) else 0.0
