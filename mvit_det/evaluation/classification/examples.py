"""A sheet of test images or clips with true and predicted classes."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mvit_det.evaluation.drawing.boxes import resize_image, to_pixels
from mvit_det.evaluation.drawing.fonts import drawable, load_font
from mvit_det.evaluation.drawing.labels import Colour
from mvit_det.evaluation.drawing.side_by_side import add_caption, tile_grid
from mvit_det.evaluation.example_selection import lowest_keys

_TILE, _GAP, _CAPTION, _WIDTH = 180, 8, 40, 1136  # pixels
_FRAMES, _FRAME, _FRAME_GAP = 4, 136, 4  # of a clip: number drawn, side and gap in pixels
_GREEN, _RED = (0, 110, 0), (190, 0, 0)


class Example(NamedTuple):
    """One image or clip; those with the lowest ``key`` are drawn.

    Attributes:
        key: a hash of the file name if the prediction is correct, else the negative score.
        file_name: of the image or video.
        label: index of the true class.
        predicted: index of the predicted class.
        score: of the prediction.
        picture: (H, W, 3) uint8, RGB, the model's input: an image whose long side fits a tile, or
            some frames of a clip side by side.
    """

    key: float
    file_name: str
    label: int
    predicted: int
    score: float
    picture: np.ndarray


class Examples:
    """Keeps some inputs of a test set: correct ones, and the mistakes of the highest scores.

    The correct ones are chosen by a hash of their file names, so that the choice does not depend on
    the order of the inputs or the number of processes. Only the chosen ones are in memory.

    Args:
        count: number of correct and of wrong examples.
        pixel_mean: subtracted from the model's inputs, RGB from 0 to 1.
        pixel_std: divisor of the model's inputs, RGB.
    """

    def __init__(self, count: int, pixel_mean: Sequence[float], pixel_std: Sequence[float]):
        self.count = count
        self.mean, self.std = (torch.tensor([*v]).view(-1, 1, 1) for v in (pixel_mean, pixel_std))
        self.correct: list[Example] = []
        self.wrong: list[Example] = []

    def offer(
        self, image: Tensor, file_name: str, label: int, predicted: int, score: float
    ) -> None:
        """Keep an input of the model if it is among the chosen ones so far.

        Args:
            image: normalized (3, H, W) or (3, T, H, W), RGB.
            file_name: of the image or video.
            label: index of the true class.
            predicted: index of the predicted class.
            score: of the prediction.
        """
        kept = self.correct if label == predicted else self.wrong
        key = _key(file_name, label, predicted, score)
        if len(kept) == self.count and (key, file_name) >= kept[-1][:2]:
            return
        picture = self._picture(image)
        kept.append(Example(key, file_name, label, predicted, score, picture))
        kept[:] = lowest_keys(kept, self.count, 2)

    def _picture(self, image: Tensor) -> np.ndarray:
        if image.ndim == 3:
            return self._pixels(image, _TILE)
        times = np.linspace(0, image.shape[1] - 1, min(_FRAMES, image.shape[1])).round().astype(int)
        frames = [self._pixels(image[:, time], _FRAME) for time in times]
        gap = np.full((len(frames[0]), _FRAME_GAP, 3), 255, np.uint8)
        return np.concatenate([part for frame in frames for part in (gap, frame)][1:], axis=1)

    def _pixels(self, image: Tensor, side: int) -> np.ndarray:
        """Convert (3, H, W) to (h, w, 3) uint8 with a long side of ``side``."""
        pixels = to_pixels(image, self.mean, self.std)
        return resize_image(pixels, side / max(pixels.shape[:2]))


def with_prediction(example: Example, predicted: int, score: float) -> Example:
    """Return the example with another prediction: that of all views of its video."""
    key = _key(example.file_name, example.label, predicted, score)
    return example._replace(key=key, predicted=predicted, score=score)


def _key(file_name: str, label: int, predicted: int, score: float) -> float:
    return float(zlib.crc32(file_name.encode("utf-8", "replace"))) if label == predicted else -score


def draw_sheet(correct: list[Example], wrong: list[Example], names: Sequence[str]) -> Image.Image:
    """Draw correct predictions above wrong ones, each with its true and predicted class.

    Args:
        correct: examples with a correct prediction.
        wrong: examples with a wrong one; at least one example in all.
        names: of the K classes.
    """
    size = _tile_size([example.picture.shape for example in (*correct, *wrong)])
    columns = max(1, (_WIDTH - _GAP) // (size[0] + _GAP))
    parts = []
    for title, examples in (
        (f"correct ({len(correct)} at random)", correct),
        (f"wrong (the {len(wrong)} of highest score)", wrong),
    ):
        if examples:
            tiles = [_tile(example, names, size) for example in examples]
            parts.append(add_caption(tile_grid(tiles, columns), title))
    return Image.fromarray(np.concatenate(parts))


def _tile_size(shapes: list[tuple[int, ...]]) -> tuple[int, int]:
    """Return a (width, height) that fits all pictures: a square, or a strip for clips."""
    width = max(shape[1] for shape in shapes)
    return (_TILE, _TILE) if width <= _TILE else (width, max(shape[0] for shape in shapes))


def _tile(example: Example, names: Sequence[str], size: tuple[int, int]) -> Image.Image:
    """Draw the picture in the center of the tile, and below it the true and the predicted class."""
    tile = Image.new("RGB", (size[0], size[1] + _CAPTION), "white")
    height, width = example.picture.shape[:2]
    tile.paste(Image.fromarray(example.picture), ((size[0] - width) // 2, (size[1] - height) // 2))
    draw = ImageDraw.Draw(tile)
    colour = _GREEN if example.label == example.predicted else _RED
    lines: tuple[tuple[str, str | Colour], ...] = (
        (f"true: {drawable(names[example.label])}", "black"),
        (f"{example.score:.0%} {drawable(names[example.predicted])}", colour),
    )
    for line, (text, fill) in enumerate(lines):
        font = load_font(text, 14)
        while draw.textlength(text, font=font) > size[0]:
            text = text[:-4] + "..."
        draw.text((0, size[1] + 2 + 18 * line), text, fill=fill, font=font)
    return tile
