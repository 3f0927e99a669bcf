"""People and what they do, drawn onto a picture: what evaluation and prediction have in common."""

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mvit_det.evaluation.drawing.boxes import class_colour

Colour = tuple[int, int, int]  # 0..255, in the order of the picture's channels
Corners = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two excluded

SMALLEST_LETTERS = 13  # pixels
MOST_HIDDEN = 0.2  # of a panel, by others or of others
MOST_COVERED = 1 / 3  # of a box, by its own panel; a small figure would not be seen any more
LETTERS_PER_LINE = 16  # a panel may be as wide, beside a box that is narrower


def draw_people(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[Sequence[str]],
    colours: Sequence[Colour] | None = None,
) -> np.ndarray:
    """Boxes, and a panel of text at each, on a copy of a picture (H, W, 3) uint8.

    Panels stand where they cover least of each other, of other boxes, and of a small box: above a
    box, within it at the top or the bottom, below it, or beside it.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 as shares of the picture.
        labels: the lines of each box, which are wrapped; none for no panel.
        colours: one per box; by default hues that keep apart.
    """
    drawn = np.ascontiguousarray(image).copy()
    height, width = drawn.shape[:2]
    letters = max(SMALLEST_LETTERS, min(height, width) // 28)
    if colours is None:
        colours = [_colour(number) for number in range(len(boxes))]
    corners = [_corners(box, height, width) for box in boxes]
    line = max(2, round(letters / 6))
    for box, colour in zip(corners, colours):
        # a dark rim keeps the line apart from a picture of its colour
        cv2.rectangle(drawn, box[:2], (box[2] - 1, box[3] - 1), (0, 0, 0), line + 2)
        cv2.rectangle(drawn, box[:2], (box[2] - 1, box[3] - 1), colour, line)
    placed: list[Corners] = []
    for number, (box, lines, colour) in enumerate(zip(corners, labels, colours)):
        wide = min(max(box[2] - box[0], LETTERS_PER_LINE * letters * 5 // 9), width)
        inner = (box[0] + line, box[1] + line, box[2] - line, box[3] - line)
        others = corners[:number] + corners[number + 1 :]
        # in a crowd the first line has to do, or the box alone
        for shown in (tuple(lines), tuple(lines[:1])) if lines else ():
            panel = _panel(shown, tuple(colour), letters, wide)[:height, :width]
            place = _place(panel.shape[:2], box, inner, (height, width), placed, others)
            if _shared(np.array([place]), placed)[0] <= MOST_HIDDEN * panel[..., 0].size:
                placed.append(place)
                _lay_over(drawn, panel, place)
                break
    return drawn


def _colour(number: int) -> Colour:
    return tuple(round(255 * share) for share in class_colour(number))


def _corners(box: np.ndarray, height: int, width: int) -> Corners:
    left, top, right, bottom = np.clip(np.nan_to_num(np.asarray(box, np.float64)), 0, 1).tolist()
    left, top = min(int(left * width), width - 1), min(int(top * height), height - 1)
    right, bottom = math.ceil(right * width), math.ceil(bottom * height)
    return left, top, max(right, left + 1), max(bottom, top + 1)


@lru_cache(maxsize=512)  # of a video, many frames show the same
def _panel(lines: tuple[str, ...], colour: Colour, letters: int, wide: int) -> np.ndarray:
    """Lines of text in a light tint of a colour, on a dark ground: (H, W, 4), the last alpha.

    Args:
        letters: their size in pixels.
        wide: the most pixels that a line takes, unless one word alone is longer.
    """
    font = ImageFont.load_default(size=letters)
    margin = max(3, letters // 4)
    wrapped = [part for line in lines for part in _wrapped(line, font, wide - 2 * margin)]
    pitch = round(1.2 * letters)
    width = math.ceil(max(font.getlength(part) for part in wrapped)) + 2 * margin
    picture = Image.new("RGBA", (width, pitch * len(wrapped) + margin), (0, 0, 0, 200))
    draw = ImageDraw.Draw(picture)
    tint = tuple((2 * 255 + channel) // 3 for channel in colour)
    for number, part in enumerate(wrapped):
        draw.text((margin, number * pitch), part, fill=tint, font=font)
    return np.asarray(picture)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, room: float) -> list[str]:
    """Cut between words; what continues is indented."""
    parts: list[str] = []
    for word in text.split():
        longer = f"{parts[-1]} {word}" if parts else word
        if parts and font.getlength(longer) > room:
            parts.append("  " + word)
        else:
            parts[-1:] = [longer]
    return parts


def _place(
    size: tuple[int, int],
    box: Corners,
    inner: Corners,
    picture: tuple[int, int],
    placed: Sequence[Corners],
    others: Sequence[Corners],
) -> Corners:
    """Where a panel of a size (H, W) covers least; the first such place of those tried.

    Args:
        inner: the box without its line.
        placed: panels, which weigh most.
        others: other boxes.
    """
    height, width = size
    left, top, right, bottom = box
    near, far = (inner[0], inner[2] - width), (inner[1], inner[3] - height)
    starts = [
        (left, top - height),
        *((x, y) for y in far for x in near),
        *((left, bottom), (right, top), (left - width, top)),
        (inner[0], (top + bottom - height) // 2),
    ]
    wanted = np.array(starts)
    tried = np.clip(wanted, 0, [picture[1] - width, picture[0] - height])
    moved = np.abs(tried - wanted).sum(axis=1)
    tried = np.concatenate([tried, tried + [width, height]], axis=1)
    hidden = _shared(tried, [box])
    hidden[hidden <= MOST_COVERED * (right - left) * (bottom - top)] = 0
    cost = 10 * _shared(tried, placed) + _shared(tried, others) + hidden + moved
    return tuple(tried[cost.argmin()].tolist())


def _shared(places: np.ndarray, others: Sequence[Corners]) -> np.ndarray:
    """Pixels that each of some rectangles (N, 4) has in common with others, added up: (N,)."""
    given = np.array(others, dtype=np.int64).reshape(-1, 4)
    start = np.maximum(places[:, None, :2], given[:, :2])
    end = np.minimum(places[:, None, 2:], given[:, 2:])
    return (end - start).clip(0).prod(axis=-1).sum(axis=-1)


def _lay_over(image: np.ndarray, panel: np.ndarray, place: Corners) -> None:
    left, top, right, bottom = place
    part = image[top:bottom, left:right]
    alpha = panel[:, :, 3:] / 255
    part[:] = np.rint(alpha * panel[:, :, :3] + (1 - alpha) * part)
