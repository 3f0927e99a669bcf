"""Crops of the objects of COCO files in class folders, to train a classifier on.

A detector and the classifier that it starts from can then use the same photographs. Boxes are
(x, y, width, height) in pixels.
"""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from mvit_det.data.detection.annotations import annotation_fault, check_coco_json
from mvit_det.data.image_files import check_image_file, current_pictures
from mvit_det.errors import UserError, check_count, check_number, shorten_list
from mvit_det.files import atomic_folder

logger = logging.getLogger(__name__)

Box = Sequence[float]
Place = tuple[int, int, int]  # left, top and side of a square
Crop = tuple[str, Place]  # class, place

BACKGROUND = "background"
# Places tried for each background crop: a picture full of objects may have no free place.
_TRIES = 50
# Sides of background crops in pictures without objects, as shares of the short side.
_EMPTY_PICTURE = (0.1, 0.5)


def crop_objects(
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    margin: float = 0.1,
    background: bool = True,
    size: int | None = None,
    min_side: float = 8.0,
    seed: int = 0,
) -> dict[str, int]:
    """Write ``folder/<class>/<image>-<number>.jpg`` for every object, and background crops.

    Pictures are read as `use_pictures` has set.

    Args:
        json_file: COCO annotation file. Crowds and faulty boxes are left out.
        image_root: folder that the ``file_name`` entries are relative to.
        folder: to write to, which must not exist yet. It appears complete or not at all.
        margin: added on each side of a box, as a share (0..10) of its longer side. Crops are
            square; at the edge of the picture they are moved inwards.
        background: whether to add a class "background": squares at random places without an object,
            with the sides of object crops, as many as the classes have on average.
        size: side of the written pictures in pixels; None: as cropped.
        min_side: boxes whose longer side is below it, in pixels, are left out.
        seed: of the random places, at least 0.

    Returns:
        {class: number of its crops}.

    Raises:
        UserError: an argument is out of its range, the folder exists, class names cannot be folder
            names, no box is usable, or no image can be read.
    """
    coco, folder = check_coco_json(json_file), Path(folder)
    names = [str(entry["name"]) for entry in coco["categories"]]
    _check_arguments(names, folder, margin, background, size, seed)
    plan = _plan(coco, margin, background, min_side, seed)
    if not any(plan):
        raise UserError(f"{json_file} has no usable box of {min_side} pixels: annotate objects.")
    counts = dict.fromkeys([*names, *[BACKGROUND] * background], 0)
    unreadable = []
    written: Counter[str] = Counter()  # crops by the beginning of their names
    with atomic_folder(folder, "the crops", "name a folder that is writable.") as draft:
        _make_folders(draft, list(counts))
        images = tqdm(coco["images"], desc=f"cropping {folder.name}", unit="image")
        for image, crops in zip(images, plan):
            try:
                pixels = _read_pixels(Path(image_root) / image["file_name"], image)
            except Exception as error:  # decoders fail in many ways
                unreadable.append(f"{image['file_name']} ({error})")
                continue
            path = Path(os.path.splitdrive(image["file_name"])[1])
            stem = path.with_suffix("").as_posix().replace("/", "_")
            _write_crops(draft, pixels, crops, size, stem, written[stem])
            written[stem] += len(crops)
            for name, _ in crops:
                counts[name] += 1
        if len(unreadable) == len(plan):
            raise UserError(
                f"No image of {json_file} can be read below {image_root} "
                f"({shorten_list(unreadable, 1)}): correct the folder."
            )
    if unreadable:
        logger.warning("%d images cannot be read: %s", len(unreadable), shorten_list(unreadable))
    return counts


def _make_folders(draft: Path, names: list[str]) -> None:
    """Make the folders of the classes; Windows, for one, refuses or changes some names."""
    try:
        for name in names:
            (draft / name).mkdir()
        changed = sorted(set(names) - set(os.listdir(draft)))
    except OSError as error:
        raise UserError(
            f"The class {name!r} cannot be the name of a folder on this system "
            f"({error.strerror}): rename it."
        ) from error
    if changed:
        raise UserError(
            f"The classes {shorten_list(changed)} cannot be names of folders on this system: "
            "rename them."
        )


def _check_arguments(
    names: list[str], folder: Path, margin: float, background: bool, size: int | None, seed: int
) -> None:
    if folder.exists():
        raise UserError(f"{folder} exists already: remove it, or name another folder.")
    check_number("crop_objects", "from 0 to 10", lambda value: 0 <= value <= 10, margin=margin)
    check_number("crop_objects", "at least 0", lambda value: value >= 0, seed=seed)
    if size is not None:
        check_count("crop_objects", size=size)
    if background and BACKGROUND in names:
        raise UserError(
            f"The annotations have a class named {BACKGROUND!r}: rename it, or pass "
            "background=False (--no-background)."
        )
    if len(set(names)) < len(names) or any(
        not name or name.startswith(".") or "/" in name or os.sep in name for name in names
    ):
        raise UserError(
            f"The classes {shorten_list(names, 20)} cannot all be names of folders: rename those "
            "that are empty, occur twice, contain a slash or begin with a dot."
        )


def _plan(
    coco: dict[str, Any], margin: float, background: bool, min_side: float, seed: int
) -> list[list[Crop]]:
    """Choose the crops of each image, in the order of the file; all empty without objects."""
    boxes, objects = _boxes_by_image(coco, min_side)
    names = {entry["id"]: str(entry["name"]) for entry in coco["categories"]}
    wanted = sum(map(len, objects.values())) / len(names) if background else 0
    plan, found = [], 0
    for index, image in enumerate(coco["images"]):
        crops = [
            (names[entry["category_id"]], _square(entry["bbox"], margin, image))
            for entry in objects[image["id"]]
        ]
        # Later pictures compensate for those without free places.
        missing = round((index + 1) / len(coco["images"]) * wanted) - found
        sides = [side for _, (_, _, side) in crops]
        rng = np.random.default_rng([seed, index])
        free = _free_places(rng, missing, boxes[image["id"]], sides, image)
        found += len(free)
        plan.append(crops + [(BACKGROUND, place) for place in free])
    return plan


def _boxes_by_image(coco: dict[str, Any], min_side: float) -> tuple[dict, dict]:
    """Return {image id: all boxes} and {image id: annotations to crop}."""
    boxes, usable = defaultdict(list), defaultdict(list)
    images = {image["id"]: image for image in coco["images"]}
    for entry in coco["annotations"]:
        image = images[entry["image_id"]]
        if annotation_fault(entry["bbox"], None, image["width"], image["height"], False):
            continue
        boxes[image["id"]].append(entry["bbox"])
        if not entry.get("iscrowd") and max(entry["bbox"][2:]) >= min_side:
            usable[image["id"]].append(entry)
    return boxes, usable


def _read_pixels(path: Path, image: dict[str, Any]) -> np.ndarray:
    """Read RGB uint8 (H, W, 3) with the EXIF orientation applied, as in detection."""
    check_image_file(str(path))
    pixels = current_pictures().read(str(path), "RGB")
    if pixels.shape[:2] != (image["height"], image["width"]):
        raise ValueError(
            f"{pixels.shape[1]}x{pixels.shape[0]} pixels, but {image['width']}x{image['height']} "
            "in the annotations"
        )
    return pixels


def _square(box: Box, margin: float, image: dict[str, Any]) -> Place:
    """Return the square around a box with its margin, moved into the picture."""
    x, y, width, height = box
    room = min(image["width"], image["height"])
    side = min(max(round(max(width, height) * (1 + 2 * margin)), 1), room)
    left, top = round(x + (width - side) / 2), round(y + (height - side) / 2)
    return min(max(left, 0), image["width"] - side), min(max(top, 0), image["height"] - side), side


def _free_places(
    rng: np.random.Generator, count: int, boxes: list[Box], sides: list[int], image: dict[str, Any]
) -> list[Place]:
    """Draw up to ``count`` squares with sides from ``sides`` that do not overlap a box."""
    width, height = image["width"], image["height"]
    places: list[Place] = []
    for _ in range(_TRIES * count):
        if len(places) == count:
            break
        if sides:
            side = int(rng.choice(sides))
        else:
            side = max(round(min(width, height) * rng.uniform(*_EMPTY_PICTURE)), 1)
        left = int(rng.integers(width - side + 1))
        top = int(rng.integers(height - side + 1))
        if all(
            left >= x + w or top >= y + h or left + side <= x or top + side <= y
            for x, y, w, h in boxes
        ):
            places.append((left, top, side))
    return places


def _write_crops(
    folder: Path, pixels: np.ndarray, crops: list[Crop], size: int | None, stem: str, first: int
) -> None:
    """Save crops as ``folder/<class>/<stem>-<number>.jpg``, numbered from ``first``."""
    for number, (name, (left, top, side)) in enumerate(crops, start=first):
        picture = Image.fromarray(pixels[top : top + side, left : left + side].copy())
        if size is not None:
            picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        picture.save(folder / name / f"{stem}-{number}.jpg", quality=95)
