"""Draw people and their actions onto an image, for evaluation and prediction."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from mvit_det.evaluation.drawing.boxes import class_colour
from mvit_det.evaluation.drawing.labels import Colour, panel

Corners = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two exclusive

SMALLEST_LETTERS = 13  # pixels
MOST_HIDDEN = 0.2  # share of a panel that may overlap other panels
MOST_COVERED = 1 / 3  # share of a box that its panel may cover; more would hide a small person
LETTERS_PER_LINE = 16  # minimum width of a panel, even if its box is narrower


def draw_people(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[Sequence[str]],
    colours: Sequence[Colour] | None = None,
) -> np.ndarray:
    """Draw boxes, each with a panel of text, on a copy of an image.

    A panel is placed above its box, inside it at the top or the bottom, below it, or next to it,
    where it covers least of other panels, other boxes, and its box if this is small.

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4), x1, y1, x2, y2 as fractions of the image.
        labels: the lines of text of each box, which are wrapped; a box without lines has no panel.
        colours: one per box; by default distinct hues.

    Returns:
        (H, W, 3) uint8.
    """
    picture = Image.fromarray(np.ascontiguousarray(image))
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    letters = max(SMALLEST_LETTERS, min(height, width) // 28)
    if colours is None:
        colours = [class_colour(number) for number in range(len(boxes))]
    corners = [_corners(box, height, width) for box in boxes]
    line = max(3, round(letters / 5))
    for (left, top, right, bottom), colour in zip(corners, colours):
        # a black rim separates the line from a background of the same colour
        for thickness, shade in ((line + 2, "black"), (line, colour)):
            out = thickness // 2
            outer = (left - out, top - out, right - 1 + out, bottom - 1 + out)
            draw.rectangle(outer, outline=shade, width=thickness)
    placed: list[Corners] = []
    for number, (box, lines, colour) in enumerate(zip(corners, labels, colours)):
        max_width = min(max(box[2] - box[0], LETTERS_PER_LINE * letters * 5 // 9), width)
        inner = (box[0] + line, box[1] + line, box[2] - line, box[3] - line)
        other_boxes = corners[:number] + corners[number + 1 :]
        # in a crowd draw the first line only, or only the box
        for selected in (tuple(lines), tuple(lines[:1])) if lines else ():
            text = panel(selected, colour, letters, max_width)
            text = text.crop((0, 0, min(text.width, width), min(text.height, height)))
            place = _place(text.size, box, inner, picture.size, placed, other_boxes)
            if _overlap(np.array([place]), placed)[0] <= MOST_HIDDEN * text.width * text.height:
                placed.append(place)
                picture.paste(text, place[:2], text)
                break
    return np.array(picture)


def _corners(box: np.ndarray, height: int, width: int) -> Corners:
    """Convert a box (4,) in fractions of the image to pixels within it, at least one per side."""
    left, top, right, bottom = np.clip(np.nan_to_num(np.asarray(box, np.float64)), 0, 1).tolist()
    left, top = min(int(left * width), width - 1), min(int(top * height), height - 1)
    right, bottom = math.ceil(right * width), math.ceil(bottom * height)
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _place(
    size: tuple[int, int],
    box: Corners,
    inner: Corners,
    picture: tuple[int, int],
    placed: Sequence[Corners],
    other_boxes: Sequence[Corners],
) -> Corners:
    """Return the first of the possible places where a panel covers least.

    Args:
        size: (W, H) of the panel.
        box: of the person.
        inner: the box without its outline.
        picture: (W, H) of the image.
        placed: earlier panels, which weigh most.
        other_boxes: of other people.
    """
    width, height = size
    left, top, right, bottom = box
    near, far = (inner[0], inner[2] - width), (inner[1], inner[3] - height)
    starts = [
        (left, top - height),
        *((x, y) for y in far for x in near),
        *((left, bottom), (right, top), (left - width, top)),
        (inner[0], (top + bottom - height) // 2),
    ]
    preferred = np.array(starts)
    places = np.clip(preferred, 0, np.subtract(picture, size))
    shift = np.abs(places - preferred).sum(axis=1)
    places = np.concatenate([places, places + [width, height]], axis=1)
    hidden = _overlap(places, [box])
    hidden[hidden <= MOST_COVERED * (right - left) * (bottom - top)] = 0
    cost = 10 * _overlap(places, placed) + _overlap(places, other_boxes) + hidden + shift
    left, top, right, bottom = places[cost.argmin()].tolist()
    return left, top, right, bottom


def _overlap(places: np.ndarray, rectangles: Sequence[Corners]) -> np.ndarray:
    """Sum for each of N places (N, 4) the pixels in common with each of the rectangles: (N,)."""
    targets = np.array(rectangles, dtype=np.int64).reshape(-1, 4)
    start = np.maximum(places[:, None, :2], targets[:, :2])
    end = np.minimum(places[:, None, 2:], targets[:, 2:])
    return (end - start).clip(0).prod(axis=-1).sum(axis=-1)
