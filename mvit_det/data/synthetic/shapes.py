"""Generated coloured shapes with outlines, as a COCO data set for the quickstart.

Every picture depends only on (seed, split, index), so that the same arguments give the same bytes,
and a larger set starts with the pictures of a smaller one. Coordinates are in pixels, angles in
radians.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mvit_det.data.custom.categories import class_source, numbered
from mvit_det.data.detection.coco import coco_dataset
from mvit_det.data.synthetic.folders import item_rngs, split_folder
from mvit_det.errors import UserError

CLASSES = ("circle", "square", "triangle", "star", "cross")

# Part of the cache folder's name: increase it whenever the drawing changes.
_VERSION = 1
# Shapes are drawn this many times larger and reduced, which smooths their edges.
_OVERSAMPLING = 4
# A shape is placed only if at least this share of every earlier one stays visible.
_MIN_VISIBLE = 0.7


def outline(name: str, angle: float) -> np.ndarray:
    """Return the corners of a shape in the unit circle.

    Args:
        name: one of `CLASSES`.
        angle: of the rotation in radians.

    Returns:
        float64 (N, 2): x, y within -1..1.
    """
    if name == "cross":
        arm = 0.34
        quarter = np.array([[arm, arm], [arm, 0.94], [-arm, 0.94]])
        turns = np.arange(4) * math.pi / 2
        corners = np.concatenate([quarter @ _rotation(turn).T for turn in turns])
    else:
        count = {"circle": 72, "square": 4, "triangle": 3, "star": 10}[name]
        theta = np.arange(count) * 2 * math.pi / count
        radius = np.where(np.arange(count) % 2, 0.45, 1.0) if name == "star" else 1.0
        corners = np.stack([np.cos(theta) * radius, np.sin(theta) * radius], axis=1)
    return corners @ _rotation(angle).T


def _rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _random_colour(rng: np.random.Generator, saturation: tuple, value: tuple) -> np.ndarray:
    """Draw an RGB colour (3,), 0..255, uniform in hue and in ranges of saturation and value."""
    hsv = [rng.integers(180), rng.integers(*saturation), rng.integers(*value)]
    return cv2.cvtColor(np.array([[hsv]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)


def _gradient(rng: np.random.Generator, side: int, first: np.ndarray, second: np.ndarray):
    """Draw a gradient from one colour to another in a random direction: (side, side, 3)."""
    angle = rng.uniform(0, 2 * math.pi)
    steps = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    ramp = 0.5 + (steps[None] * math.cos(angle) + steps[:, None] * math.sin(angle)) / math.sqrt(2)
    clouds = rng.normal(size=(5, 5)).astype(np.float32)
    ramp += 0.15 * cv2.resize(clouds, (side, side), interpolation=cv2.INTER_CUBIC)
    ramp = ramp.clip(0, 1)[..., None]
    return first * (1 - ramp) + second * ramp


def _texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw brightness factors (side, side, 1) around 1: plain, stripes or dots."""
    angle, period = rng.uniform(0, math.pi), rng.uniform(6, 11)
    y, x = np.mgrid[:side, :side].astype(np.float32) * (2 * math.pi / period)
    u = x * math.cos(angle) + y * math.sin(angle)
    v = y * math.cos(angle) - x * math.sin(angle)
    waves = (np.zeros_like(u), np.sin(u), np.sin(u) * np.sin(v))[rng.integers(3)]
    return 1 + 0.16 * np.tanh(3 * waves)[..., None]


def _fine_mask(corners: np.ndarray, side: int) -> np.ndarray:
    """Fill a polygon on the finer grid: uint8 0 or 255, (4 * side, 4 * side)."""
    canvas = np.zeros((side * _OVERSAMPLING,) * 2, np.uint8)
    return cv2.fillPoly(canvas, [np.round(corners * _OVERSAMPLING).astype(np.int32)], 255)


def _coverage(corners: np.ndarray, side: int) -> np.ndarray:
    """Compute the share of each pixel that a polygon covers: (side, side, 1), 0..1."""
    fine = _fine_mask(corners, side)
    return cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)[..., None] / np.float32(255)


def _visible_outline(visible: np.ndarray) -> np.ndarray | None:
    """Return the contour (N, 2) of a fine mask in pixels; None unless it is one simple piece."""
    contours, _ = cv2.findContours(visible, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if len(contours) != 1:
        return None
    corners = cv2.approxPolyDP(contours[0], epsilon=0.4 * _OVERSAMPLING, closed=True)[:, 0]
    return (corners + 0.5) / _OVERSAMPLING if len(corners) >= 3 else None


def draw_background(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw a background in pale colours: RGB float (side, side, 3), 0..255."""
    tones = [_random_colour(rng, (10, 90), (60, 215)) for _ in range(2)]
    return _gradient(rng, side, *tones) * (1 + 0.4 * (_texture(rng, side) - 1))


def draw_shape(
    rng: np.random.Generator, side: int, corners: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a polygon in strong colours.

    Args:
        rng: source of all random numbers.
        side: height and width of the result in pixels.
        corners: of the polygon, (N, 2) x, y in pixels.

    Returns:
        RGB float (side, side, 3), 0..255, and the share of each pixel that the polygon covers,
        (side, side, 1), 0..1.
    """
    colour = _random_colour(rng, (130, 255), (130, 255))
    fill = _gradient(rng, side, colour, 0.6 * colour) * _texture(rng, side)
    centre = corners.mean(axis=0)
    inner = _coverage(centre + 0.88 * (corners - centre), side)
    fill = fill * (0.65 + 0.35 * inner)  # a darker rim
    return fill, _coverage(corners, side)


def _place_shapes(
    rng: np.random.Generator, side: int, max_objects: int, object_size: tuple[float, float]
) -> list[dict[str, Any]]:
    """Choose shapes and positions from back to front, each mostly visible and in one piece.

    Returns per shape its class index ``label``, the ``corners`` (N, 2) and the visible ``outline``
    (M, 2) in pixels, and the areas ``whole`` and ``visible`` (fine masks).
    """
    shapes: list[dict[str, Any]] = []
    wanted = int(rng.integers(1, max_objects + 1))
    for _ in range(12 * wanted):
        if len(shapes) == wanted:
            break
        radius = rng.uniform(*object_size) / 2
        label = int(rng.integers(len(CLASSES)))
        centre = rng.uniform(radius + 1, side - radius - 1, size=2)
        corners = centre + radius * outline(CLASSES[label], rng.uniform(0, 2 * math.pi))
        whole = _fine_mask(corners, side)
        candidates = [*shapes, dict(label=label, corners=corners, whole=whole, visible=whole)]
        visible = [shape["visible"] & ~whole for shape in shapes] + [whole]
        outlines = [_visible_outline(area) for area in visible]
        hidden = any(
            cv2.countNonZero(area) < _MIN_VISIBLE * cv2.countNonZero(shape["whole"])
            for area, shape in zip(visible, candidates)
        )
        if hidden or any(contour is None for contour in outlines):
            continue
        shapes = [
            dict(shape, visible=area, outline=contour)
            for shape, area, contour in zip(candidates, visible, outlines)
        ]
    return shapes


def draw_picture(
    rng: np.random.Generator, side: int, max_objects: int, object_size: tuple[float, float]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Draw one picture.

    Args:
        rng: source of all random numbers.
        side: height and width in pixels.
        max_objects: largest number of shapes, at least 1.
        object_size: smallest and largest diameter of a shape in pixels.

    Returns:
        RGB uint8 (side, side, 3); and per shape, from back to front, a dict with its class index
        "label", "corners" (N, 2) and visible "outline" (M, 2) in pixels, and masks.
    """
    image = draw_background(rng, side)
    shapes = _place_shapes(rng, side, max_objects, object_size)
    for shape in shapes:
        size = float(np.ptp(shape["corners"], axis=0).max())
        shadow = _coverage(shape["corners"] + 0.05 * size, side)
        shadow = cv2.GaussianBlur(shadow, (0, 0), sigmaX=0.04 * size)[..., None]
        image = image * (1 - 0.45 * shadow)
        fill, coverage = draw_shape(rng, side, shape["corners"])
        image = image * (1 - coverage) + fill * coverage
    image = image + rng.normal(scale=4.0, size=image.shape)
    return image.clip(0, 255).astype(np.uint8), shapes


def generate_shapes(
    folder: str | os.PathLike,
    num_images: int,
    seed: int | tuple[int, ...] = 0,
    image_size: int = 160,
    max_objects: int = 5,
    object_size: tuple[float, float] = (24, 80),
) -> None:
    """Write JPEG pictures to ``folder/images``, and ``folder/annotations.json``.

    Polygons follow the visible part of a shape, which is always one piece without holes.

    Args:
        folder: to write to.
        num_images: number of pictures, at least 1.
        seed: one or several integers.
        image_size: height and width of the pictures in pixels.
        max_objects: largest number of shapes in a picture, at least 1.
        object_size: smallest and largest diameter of a shape in pixels.

    Raises:
        UserError: an argument is out of its range.
    """
    if num_images < 1 or max_objects < 1 or not 4 <= object_size[0] <= object_size[1] < image_size:
        raise UserError(
            f"Cannot draw num_images={num_images}, image_size={image_size}, max_objects="
            f"{max_objects}, object_size={object_size}: counts start at 1 and "
            "4 <= smallest <= largest object < image_size must hold."
        )
    folder = Path(folder)
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, rng in item_rngs(folder, num_images, seed, "image"):
        pixels, shapes = draw_picture(rng, image_size, max_objects, object_size)
        file_name = f"{index:05d}.jpg"
        Image.fromarray(pixels).save(folder / "images" / file_name, quality=95)
        images.append(dict(id=index + 1, file_name=file_name, width=image_size, height=image_size))
        for shape in shapes:
            low, high = shape["outline"].min(axis=0), shape["outline"].max(axis=0)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index + 1,
                    category_id=shape["label"] + 1,
                    bbox=[*low.tolist(), *(high - low).tolist()],
                    segmentation=[shape["outline"].ravel().tolist()],
                    area=cv2.countNonZero(shape["visible"]) / _OVERSAMPLING**2,
                    iscrowd=0,
                )
            )
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
    coco = dict(info={}, images=images, annotations=annotations, categories=categories)
    (folder / "annotations.json").write_text(json.dumps(coco), "utf-8")


@class_source(lambda node: numbered(CLASSES))
def shapes_dataset(
    split: str,
    num_train: int = 500,
    num_val: int = 80,
    image_size: int = 160,
    seed: int = 0,
    object_size: tuple[float, float] = (24, 80),
    num_classes: int | None = None,
) -> list[dict[str, Any]]:
    """Load the dataset dicts of generated shapes, for a ``dataset=L(shapes_dataset)(...)`` node.

    The split is registered as "shapes_train" or "shapes_val".

    Args:
        split: "train" or "val". Both are drawn at the first call (seconds) and read from the
            datasets folder afterwards.
        num_train: pictures of the training split.
        num_val: pictures of the validation split.
        image_size: height and width of the pictures in pixels.
        seed: of the drawing.
        object_size: smallest and largest diameter of a shape in pixels.
        num_classes: number of classes the model is built for; None: not checked.

    Raises:
        UserError: an argument is out of its range, or the datasets folder is not writable.
    """
    low, high = object_size

    def draw(folder: Path, count: int, seeds: tuple[int, int]) -> None:
        generate_shapes(folder, count, seeds, image_size, object_size=(low, high))

    settings, counts = f"{image_size}px-{low}to{high}", (num_train, num_val)
    folder = split_folder(split, "shapes", settings, draw, counts, seed, _VERSION)
    return coco_dataset(
        f"shapes_{split}",
        json_file=str(folder / "annotations.json"),
        image_root=str(folder / "images"),
        filter_empty=split == "train",
        num_classes=num_classes,
    )
