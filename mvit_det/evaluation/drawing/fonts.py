"""Fonts for names in any script: a font of the system that has their characters, or a word."""

import logging
import unicodedata
from functools import cache, lru_cache
from typing import Any

from PIL import ImageFont

logger = logging.getLogger(__name__)

_reported: list[str] = []  # the first text that lacks a font; others are not logged

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def drawable(text: str, otherwise: str | None = None) -> str:
    """Return a text as fonts can draw it.

    Args:
        text: in any script.
        otherwise: returned if no font has all characters; by default the text with the code
            points of what is missing (as `ascii` writes them). The first such text is logged.
    """
    text = unicodedata.normalize("NFC", text)
    if find_font(text) is not None:
        return text
    if not _reported:
        _reported.append(text)
        logger.warning(
            "No font on this system has all characters of %r: install one, such as a font of "
            "Noto; until then boxes show class indices, and other labels code points.",
            text,
        )
    if otherwise is not None:
        return otherwise
    return "".join(c if find_font(c) is not None else ascii(c)[1:-1] for c in text)


def load_font(text: str, size: int) -> Font:
    """Load a font for a text, see `drawable`: Pillow's own if that has all characters.

    Args:
        text: the text to draw.
        size: in pixels.
    """
    path = find_font(text)
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


def find_font(text: str) -> str | None:
    """Return the path of a font that has all characters; "" for Pillow's own; None for none."""
    if text.isascii():
        return ""
    return _find(frozenset(c for c in text if not (c.isspace() or "\ufe00" <= c <= "\ufe0f")))


@lru_cache(maxsize=4096)
def _find(characters: frozenset[str]) -> str | None:
    codes = {ord(c) for c in characters if unicodedata.category(c) != "Cf"}
    return next((path for path in _font_files() if codes <= _charmap(path)), None)


@lru_cache(maxsize=1)
def _font_files() -> list[str]:
    """List Pillow's own font (""), matplotlib's, and those of the system, regular ones first."""
    # imported here, since it takes a second
    from matplotlib import font_manager

    # NOTE: a font of last resort has a box for each character.
    files = [path for path in font_manager.findSystemFonts() if "lastresort" not in path.lower()]
    files.sort(key=lambda path: ("regular" not in path.lower(), path))
    return ["", str(font_manager.findfont("DejaVu Sans")), *files]


@cache
def _charmap(path: str) -> frozenset[int]:
    """Return the code points that a font file has; none if it cannot be drawn at any size."""
    from matplotlib.ft2font import FT2Font

    source: Any = path or getattr(ImageFont.load_default(10), "path", None)
    try:
        if not path:
            source.seek(0)  # a file in memory
        font = FT2Font(source)
        return frozenset(font.get_charmap() if font.scalable else ())
    except Exception:  # whatever a system has among its fonts
        return frozenset()
