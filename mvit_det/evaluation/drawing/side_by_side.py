"""Predictions beside ground truth: two captioned pictures, and many of them on one sheet."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_CAPTION, _GAP = 34, 8  # pixels


def side_by_side(
    predictions: np.ndarray, truth: np.ndarray, counts: tuple[int, int], min_score: float
) -> np.ndarray:
    """Join two RGB images of one size, each with a line above it that says what it shows.

    Args:
        counts: how many objects the one has, and the other.
        min_score: predictions of a lower score are not among them.
    """
    left = captioned(predictions, f"predictions (score >= {min_score:g}): {counts[0]}")
    right = captioned(truth, f"ground truth: {counts[1]}")
    gap = np.full((len(left), _GAP, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def captioned(image: np.ndarray, text: str) -> np.ndarray:
    """Put a strip with one line of text above an RGB image."""
    strip = Image.new("RGB", (image.shape[1], _CAPTION), "white")
    font = ImageFont.load_default(size=18)
    ImageDraw.Draw(strip).text((4, 6), text, fill="black", font=font)
    return np.concatenate([np.asarray(strip), image])


def overview(paths: list[Path], width: int = 900, columns: int = 2) -> Image.Image:
    """Put picture files on one sheet, row by row, each reduced to the same width."""
    tiles = []
    for path in paths:
        with Image.open(path) as picture:
            height = round(picture.height * width / picture.width)
            tiles.append(picture.convert("RGB").resize((width, height), Image.LANCZOS))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) + 2 * _GAP for row in rows]
    sheet = Image.new("RGB", (min(columns, len(tiles)) * (width + 2 * _GAP), sum(heights)), "white")
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            sheet.paste(tile, (_GAP + column * (width + 2 * _GAP), _GAP + sum(heights[:number])))
    return sheet
