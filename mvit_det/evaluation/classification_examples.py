"""Test images with their true and predicted class, on one sheet."""

import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mvit_det.evaluation.drawing import resized

_TILE, _GAP, _CAPTION, _TITLE, _COLUMNS = 180, 8, 40, 34, 6  # pixels, but for the last
_GREEN, _RED = (0, 110, 0), (190, 0, 0)


class Example(NamedTuple):
    """One image; by ``key`` and ``file_name`` is decided which ones are shown.

    ``picture`` is (H, W, 3) uint8, RGB, as the model saw it, its long side one tile.
    """

    key: float
    file_name: str
    label: int
    predicted: int
    score: float
    picture: np.ndarray


class Examples:
    """Keeps some images while a test set goes by: right ones, and the surest of the mistakes.

    The right ones are drawn by a hash of their file names. So the choice does not depend on the
    order of the images or on which process has them, and no more than those shown are in memory.

    Args:
        count: of right ones and of wrong ones.
        pixel_mean, pixel_std: by which the model's inputs were normalised, of RGB from 0 to 1.
    """

    def __init__(self, count: int, pixel_mean: Sequence[float], pixel_std: Sequence[float]):
        self.count = count
        self.mean, self.std = (torch.tensor(v).view(-1, 1, 1) for v in (pixel_mean, pixel_std))
        self.right: list[Example] = []
        self.wrong: list[Example] = []

    def offer(self, image: Tensor, file_name: str, label: int, predicted: int, score: float):
        """Keep a model's input (3, H, W) if it is among those to show so far."""
        right = label == predicted
        kept = self.right if right else self.wrong
        key = float(zlib.crc32(file_name.encode("utf-8", "replace"))) if right else -score
        if len(kept) == self.count and (key, file_name) >= kept[-1][:2]:
            return
        picture = self._picture(image)
        kept.append(Example(key, file_name, label, predicted, score, picture))
        kept[:] = first_of(kept, self.count)

    def _picture(self, image: Tensor) -> np.ndarray:
        pixels = image.detach().float().cpu() * self.std + self.mean
        pixels = (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        return resized(pixels, _TILE / max(pixels.shape[:2]))


def first_of(examples: Iterable[Example], count: int) -> list[Example]:
    """The first ones by key, each file once."""
    ordered = sorted(examples, key=lambda example: example[:2])
    return list({example.file_name: example for example in reversed(ordered)}.values())[::-1][
        :count
    ]


def sheet(right: list[Example], wrong: list[Example], names: Sequence[str]) -> Image.Image:
    """Put right predictions above wrong ones, each with its true and predicted class."""
    blocks = [
        (f"right ({len(right)} at random)", right),
        (f"wrong (the {len(wrong)} of the highest score)", wrong),
    ]
    blocks = [block for block in blocks if block[1]]
    cell = (_TILE + _GAP, _TILE + _CAPTION + _GAP)
    rows = [-(-len(examples) // _COLUMNS) for _, examples in blocks]
    size = (_COLUMNS * cell[0] + _GAP, sum(_TITLE + n * cell[1] for n in rows))
    page = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=18)
    top = 0
    for (title, examples), count in zip(blocks, rows):
        draw.text((_GAP, top + 6), title, fill="black", font=font)
        for index, example in enumerate(examples):
            row, column = divmod(index, _COLUMNS)
            corner = (_GAP + column * cell[0], top + _TITLE + row * cell[1])
            page.paste(_tile(example, names), corner)
        top += _TITLE + count * cell[1]
    return page


def _tile(example: Example, names: Sequence[str]) -> Image.Image:
    """The picture in the middle of a square, and below it what it is and what it is taken for."""
    tile = Image.new("RGB", (_TILE, _TILE + _CAPTION), "white")
    height, width = example.picture.shape[:2]
    tile.paste(Image.fromarray(example.picture), ((_TILE - width) // 2, (_TILE - height) // 2))
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(size=14)
    colour = _GREEN if example.label == example.predicted else _RED
    lines = (
        (f"true: {names[example.label]}", "black"),
        (f"{example.score:.0%} {names[example.predicted]}", colour),
    )
    for line, (text, fill) in enumerate(lines):
        while draw.textlength(text, font=font) > _TILE:
            text = text[:-4] + "..."
        draw.text((0, _TILE + 2 + 18 * line), text, fill=fill, font=font)
    return tile
