"""Text on a dark panel, legible on any image: the labels of boxes in all tasks."""

import math
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from mvit_det.evaluation.drawing.fonts import Font, drawable, load_font

Colour = tuple[int, int, int]  # 0 to 255, in the channel order of the image


@lru_cache(maxsize=512)  # the frames of a video have the same labels
def panel(lines: tuple[str, ...], colour: Colour, letters: int, max_width: int) -> Image.Image:
    """Draw lines of text in a light tint of a colour on a dark background, RGBA.

    Args:
        lines: of text, which are wrapped.
        colour: 0 to 255 per channel.
        letters: font size in pixels.
        max_width: in pixels; a longer word is not broken.
    """
    margin = max(3, letters // 4)
    wrapped = [
        (part, font)
        for line in map(drawable, lines)
        for font in [load_font(line, letters)]
        for part in _wrap(line, font, max_width - 2 * margin)
    ]
    pitch = round(1.2 * letters)
    width = math.ceil(max(font.getlength(part) for part, font in wrapped)) + 2 * margin
    picture = Image.new("RGBA", (width, pitch * len(wrapped) + margin), (0, 0, 0, 200))
    draw = ImageDraw.Draw(picture)
    tint = tuple((2 * 255 + channel) // 3 for channel in colour)
    default: Any = ImageFont.load_default(size=letters)
    baseline = default.getmetrics()[0]
    for number, (part, font) in enumerate(wrapped):
        draw.text((margin, number * pitch + baseline), part, fill=tint, font=font, anchor="ls")
    return picture


def _wrap(text: str, font: Font, width: float) -> list[str]:
    """Wrap between words at a width in pixels; indent continuation lines."""
    parts: list[str] = []
    for word in text.split():
        longer = f"{parts[-1]} {word}" if parts else word
        if parts and font.getlength(longer) > width:
            parts.append("  " + word)
        else:
            parts[-1:] = [longer]
    return parts
