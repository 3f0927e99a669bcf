"""Ids of pictures and classes as in a COCO file, to evaluate predictions against it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mvit_det.data.custom.categories import Category
from mvit_det.errors import UserError, shorten_list
from mvit_det.evaluation.detection.identities import PictureNames
from mvit_det.files import read_json


def coco_ids(
    json_file: str, paths: Sequence[Path], categories: Sequence[Category]
) -> tuple[dict[Path, Any], list[Category]]:
    """Look up pictures by file name, and classes by name.

    A file name with folders, such as "val/1.jpg", belongs to the picture whose path ends with it;
    else to the only picture of its last part. Of several entries of one file name, the only one
    with annotations counts.

    Args:
        json_file: a COCO file; "annotations" are not needed.
        paths: of the pictures.
        categories: of the model; their ids do not matter.

    Returns:
        The image id of each path; and the categories with the ids of the file, in the same order.

    Raises:
        UserError: the file cannot be used, or lacks a picture or a class, or has it under several
            ids, or two pictures have the same id.
    """
    coco = read_json(json_file, "The file of --ids-from")
    try:
        names = PictureNames((image["file_name"], image["id"]) for image in coco["images"])
        classes = [(category["name"], category["id"]) for category in coco["categories"]]
        used = {entry["image_id"] for entry in coco.get("annotations", ())}
        for entry in (*coco["images"], *coco["categories"]):
            hash(entry["id"])  # a list or an object is no id
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"--ids-from {json_file} is not a COCO file ({error!r}): it needs 'images' with 'id' "
            "and 'file_name', and 'categories' with 'id' and 'name'."
        ) from error
    pictures = [(path, _ids_of(path, names, used)) for path in paths]
    ids = dict(zip(paths, _only(json_file, "pictures", pictures)))
    of_classes = []
    for category in categories:
        same = [k for name, k in classes if name == category["name"]]
        # two classes may have one name, in the file that the model was trained on
        of_classes.append((category["name"], [k for k in same if k == category["id"]] or same))
    numbers = _only(json_file, "classes of the model", of_classes)
    path_of: dict[Any, Path] = {}
    for path, image_id in ids.items():
        if path_of.setdefault(image_id, path) is not path:
            raise UserError(
                f"--ids-from {json_file} has one entry (id {image_id!r}) for both {path} and "
                f"{path_of[image_id]}: leave one of them out."
            )
    return ids, [{**category, "id": number} for category, number in zip(categories, numbers)]


def _ids_of(path: Path, names: PictureNames, used: set) -> list[Any]:
    """Return the ids of the entries that fit a path best: none or several are faults."""
    ids = names.ids(os.path.abspath(path)) or names.ids_of_last_part(path)
    annotated = [image_id for image_id in ids if image_id in used]
    return annotated if len(annotated) == 1 else ids


def _only(json_file: str, what: str, found: Sequence[tuple[Any, list]]) -> list[Any]:
    """Return the only id of each name; refuse names without an id, or with several."""
    absent = [name for name, ids in found if not ids]
    if absent:
        raise UserError(
            f"--ids-from {json_file} lacks {len(absent)} of {len(found)} {what} "
            f"({shorten_list(absent)}): leave these out, or add them to the file."
        )
    several = [f"{name}: {shorten_list(ids)}" for name, ids in found if len(ids) > 1]
    if several:
        raise UserError(
            f"--ids-from {json_file} has {len(several)} of {len(found)} {what} under several ids "
            f"({shorten_list(several, 3)}): keep one entry of each."
        )
    return [ids[0] for _, ids in found]
