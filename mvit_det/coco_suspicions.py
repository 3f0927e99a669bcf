"""What in a COCO file is allowed, but most likely not meant: one sentence each."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

from mvit_det.coco_files import distinct_names, read_coco_json, sorted_categories
from mvit_det.errors import shorten_list

# Shares of boxes and annotations. Ordinary files are far below: COCO has 1 % of crowds.
_BEYOND, _FIT, _CROWDS = 0.1, 0.99, 0.25
COCO_LIMIT = 100  # detections per image


def suspicions(
    coco: Mapping[str, Any], training: bool, max_detections: int | None
) -> Iterator[str]:
    """Yield what is suspicious in a file that is trained or tested, with the fix.

    Args:
        coco: the content, from `check_coco_json` of the data sets.
        training: whether a class without annotations is suspicious.
        max_detections: detections of an image that the model returns; None: 100.
    """
    yield from suspicious_values(coco)
    annotations = coco["annotations"]
    used = {entry["category_id"] for entry in annotations}
    unused = [entry["name"] for entry in coco["categories"] if entry["id"] not in used]
    if training and annotations and unused:
        yield (
            f"no annotation has the class {shorten_list(unused)} (Roboflow adds such a parent "
            "class): remove it from 'categories' of all files, or annotate it"
        )
    objects = Counter(entry["image_id"] for entry in annotations if not entry["iscrowd"])
    limit = max_detections or COCO_LIMIT
    if objects and (most := max(objects.values())) > limit:
        over = sum(count > limit for count in objects.values())
        yield (
            f"{over} pictures have more objects than the {limit} detections that the model returns "
            f"(image {objects.most_common(1)[0][0]!r} has {most}): set model.max_detections={most}"
        )


def suspicious_values(coco: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is suspicious in a file from `read_coco_json`, however it is used."""
    yield from _same_names(coco)
    annotations = coco["annotations"]
    if not annotations:
        return
    yield from _boxes(coco)
    crowds = sum(entry["iscrowd"] for entry in annotations)
    if crowds >= _CROWDS * len(annotations):
        yield (
            f"{crowds} of {len(annotations)} annotations have iscrowd=1, so that they are neither "
            "trained nor counted (CVAT's brush writes it): set iscrowd=0 for single objects"
        )


def _same_names(coco: Mapping[str, Any]) -> Iterator[str]:
    """Yield categories of one name, and files under several ids."""
    for key, field in (("categories", "name"), ("images", "file_name")):
        ids = defaultdict(list)
        for entry in coco[key]:
            if field in entry:
                ids[entry[field]].append(entry["id"])
        repeated = [
            f"{name!r} (ids {shorten_list(map(repr, same))})"
            for name, same in ids.items()
            if len(same) > 1
        ]
        if repeated and key == "categories":
            yield f"several categories are named {shorten_list(repeated)}: merge or rename them"
        elif repeated:
            yield (
                f"{len(repeated)} pictures are listed under several ids, such as "
                f"{shorten_list(repeated, 1)}, and what is annotated under one is background under "
                "the others: merge them"
            )


def _boxes(coco: Mapping[str, Any]) -> Iterator[str]:
    """Yield boxes in another format than x, y, width, height in pixels."""
    sizes = {
        image["id"]: (image["width"], image["height"])
        for image in coco["images"]
        if {"width", "height"} <= image.keys()
    }
    of_known = [entry for entry in coco["annotations"] if entry["image_id"] in sizes]
    if not of_known:
        return
    numbers = chain.from_iterable(entry["bbox"] for entry in of_known)
    box = np.fromiter(numbers, float, 4 * len(of_known)).reshape(-1, 4)
    sides = chain.from_iterable(sizes[entry["image_id"]] for entry in of_known)
    size = np.fromiter(sides, float, 2 * len(of_known)).reshape(-1, 2)
    first, second = box[:, :2], box[:, 2:]
    if ((box >= 0) & (box <= 1)).all() and size.min() > 2:
        yield (
            f"all {len(box)} boxes lie within 0 and 1 and look like shares of the picture: write "
            "pixels"
        )
        return
    beyond = (first + second > size + 1).any(axis=1)
    corners = ((second > first) & (second <= size + 1)).all(axis=1)
    if beyond.mean() > _BEYOND and corners.mean() >= _FIT:
        yield (
            f"{beyond.sum()} of {len(box)} boxes reach beyond their pictures, and all look like "
            "x1, y1, x2, y2: write x, y, width, height"
        )


def split_suspicion(json_file: str, train_json: str) -> str:
    """Describe classes with objects in the tested or the trained file only; "" without such."""
    tested, trained = map(_annotated_names, (json_file, train_json))
    sides = [
        (tested - trained, "are not in the training data"),
        (trained - tested, "are in the training data alone, so that their AP is nan"),
    ]
    parts = [f"{shorten_list(sorted(names))} {effect}" for names, effect in sides if names]
    return f"classes occur in one split only: {'; '.join(parts)}" if parts else ""


def _annotated_names(json_file: str) -> set[str]:
    coco = read_coco_json(json_file)
    entries = sorted_categories(coco)
    names = dict(zip((entry["id"] for entry in entries), distinct_names(entries)))
    used = {entry["category_id"] for entry in coco.get("annotations", [])}
    return {names[label] for label in used if label in names}
