"""Text on a dark panel, readable on any picture: what boxes of all tasks are labelled with."""

import math
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]  # 0..255, in the order of the picture's channels


@lru_cache(maxsize=512)  # of a video, many frames show the same
def panel(lines: tuple[str, ...], colour: Colour, letters: int, wide: int) -> Image.Image:
    """Lines of text in a light tint of a colour, on a dark ground, RGBA.

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
    return picture


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
