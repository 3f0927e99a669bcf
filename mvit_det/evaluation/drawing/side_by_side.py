"""Predictions next to ground truth: two images with captions, and sheets of many images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torchvision.transforms.functional import pil_to_tensor
from torchvision.utils import make_grid

_CAPTION, _GAP = 34, 8  # pixels


def side_by_side(
    predictions: np.ndarray, truth: np.ndarray, counts: tuple[int, int], min_score: float
) -> np.ndarray:
    """Join two images, each with a caption above it.

    Args:
        predictions: (H, W, 3) uint8, RGB.
        truth: (H, W, 3) uint8, RGB.
        counts: number of objects in each image, for the captions.
        min_score: minimum score of the drawn predictions, for the caption.

    Returns:
        (h, w, 3) uint8, RGB.
    """
    left = add_caption(predictions, f"predictions (score >= {min_score:g}): {counts[0]}")
    right = add_caption(truth, f"ground truth: {counts[1]}")
    gap = np.full((len(left), _GAP, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def add_caption(image: np.ndarray, text: str) -> np.ndarray:
    """Add a strip with one line of text above an image (H, W, 3) uint8, RGB; return (h, W, 3)."""
    strip = Image.new("RGB", (image.shape[1], _CAPTION), "white")
    font = ImageFont.load_default(size=18)
    ImageDraw.Draw(strip).text((4, 6), text, fill="black", font=font)
    return np.concatenate([np.asarray(strip), image])


def tile_grid(tiles: Sequence[Image.Image], columns: int) -> np.ndarray:
    """Tile images of the same size on a white sheet (H, W, 3) uint8, row by row."""
    parts = [pil_to_tensor(tile) for tile in tiles]
    parts += [torch.full_like(parts[0], 255)] * (-len(parts) % columns)
    return make_grid(parts, columns, _GAP, pad_value=255).permute(1, 2, 0).numpy()


def overview(paths: list[Path], width: int = 900, columns: int = 2) -> Image.Image:
    """Put image files on one sheet.

    Args:
        paths: of at least one image file.
        width: of each image on the sheet, in pixels; all get the same height.
        columns: number of images per row.
    """
    pictures = [Image.open(path).convert("RGB") for path in paths]
    size = width, round(width * max(picture.height / picture.width for picture in pictures))
    tiles = [ImageOps.pad(picture, size, Image.Resampling.LANCZOS, "white") for picture in pictures]
    return Image.fromarray(tile_grid(tiles, min(columns, len(tiles))))
