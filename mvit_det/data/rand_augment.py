"""timm's RandAugment for clips: drawn once for all frames, and computed only for the crop.

Geometric operations take most of the time of a training sample. A crop covers about half of a
frame, so every operation runs only on the part that the crop, or the next operation, depends on.
The pixels equal those of a crop from whole frames.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import numpy as np
from PIL import Image
from timm.data import auto_augment as timm

from mvit_det.errors import UserError

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, the last two not included

# Radius in pixels that an operation reads around a pixel. Operations that are not listed depend on
# the whole frame, such as equalisation.
_REACH = {
    timm.invert: 0,
    timm.solarize: 0,
    timm.solarize_add: 0,
    timm.brightness: 0,
    timm.color: 0,
    timm.sharpness: 1,
}
_MOVES = (timm.rotate, timm.shear_x, timm.shear_y, timm.translate_x_rel, timm.translate_y_rel)


def keep_black_pictures(operations: Iterable[timm.AugmentOp]) -> None:
    """Let posterisation to 0 bits give a black picture.

    NOTE: RandAugment posterises to 0 bits at its highest magnitude. Pillow accepted that when the
    released models were trained; since version 12 it raises an error, for one image in 200.

    Args:
        operations: of an augmentation of timm, changed in place.
    """
    for operation in operations:
        if operation.aug_fn is timm.posterize:
            operation.aug_fn = _posterize


def _posterize(picture: Image.Image, bits: int, **options: Any) -> Image.Image:
    if bits == 0:
        return Image.new(picture.mode, picture.size)
    return timm.posterize(picture, bits, **options)


_REACH[_posterize] = 0


class ClipRandAugment:
    """Draws the operations of RandAugment for a clip.

    Random numbers are drawn in the order of timm and of the released code: the same seed gives the
    same frames.

    Args:
        description: in timm's format: "rand-m7-n4-mstd0.5-inc1" is 4 operations of magnitude 7
            (standard deviation 0.5), each applied with a probability of 0.5, from the 15 whose
            strength increases with the magnitude. Frames are moved by at most 0.45 of their width
            or height (bicubic) and filled with grey, 128.

    Raises:
        UserError: timm does not accept the description.
    """

    def __init__(self, description: str):
        try:
            self.policy = timm.rand_augment_transform(
                description, {"interpolation": Image.Resampling.BICUBIC}
            )
        except Exception as error:  # timm asserts
            raise UserError(
                f"auto_augment={description!r} of a clip must be None or a RandAugment of timm, "
                "such as 'rand-m7-n4-mstd0.5-inc1'."
            ) from error
        keep_black_pictures(self.policy.ops)
        for operation in self.policy.ops:
            operation.aug_fn = partial(_record, operation.aug_fn)

    def draw(self, width: int, height: int) -> list["_Step"]:
        """Draw the operations for all frames of a clip, of this size in pixels, for `augmented`."""
        calls: Any = self.policy([])  # the operations add themselves to the list
        frame = Image.new("L", (width, height))
        return [step for call in calls for step in _to_steps(call, frame)]


def augmented(frames: np.ndarray, steps: Sequence["_Step"], box: Box) -> np.ndarray:
    """Augment frames, and return the part ``box`` of the result.

    Args:
        frames: RGB uint8 (T, H, W, 3).
        steps: of `ClipRandAugment.draw` for this width and height.
        box: left, top, right, bottom in pixels, the last two excluded.

    Returns:
        uint8 (T, bottom - top, right - left, 3), a copy.
    """
    count, height, width, _ = frames.shape
    boxes = [box]
    for step in reversed(steps):
        boxes.append(step.needs(boxes[-1], (width, height)))
    boxes.reverse()
    left, top, right, bottom = boxes[0]
    pixels = frames[:, top:bottom, left:right]
    if not steps:
        return pixels.copy()
    result = np.empty((count, box[3] - box[1], box[2] - box[0], 3), np.uint8)
    for index in range(count):
        picture = Image.fromarray(pixels[index])
        for step, before, after in zip(steps, boxes, boxes[1:]):
            picture = step.run(picture, before, after)
        result[index] = np.asarray(picture)
    return result


def _record(function: Callable[..., Image.Image], calls: list, *arguments, **options) -> list:
    """Replace a function of timm: add the call to a list instead of running it."""
    return [*calls, (function, arguments, options)]


def _to_steps(call: tuple[Callable, tuple, dict], frame: Image.Image) -> list["_Step"]:
    """Convert a call of timm to steps, [] if nothing moves; ``frame`` has the clip's frame size."""
    function, arguments, options = call

    @wraps(function)
    def operation(picture: Image.Image) -> Image.Image:
        return function(picture, *arguments, **options)

    if function not in _MOVES or _samples_pixel_centres(arguments[0], frame.size):
        return [_Filter(operation, _REACH.get(function))]
    moves: list[_Step] = []

    def record(size, method, matrix, resample, fillcolor):
        moves.append(_Move(matrix, dict(resample=resample, fillcolor=fillcolor)))
        return frame

    # Shear, translation and rotation all call this method of the picture, with the matrix.
    frame.transform = record  # type: ignore[assignment, method-assign]  # of this picture only
    operation(frame)
    return moves


def _samples_pixel_centres(magnitude: float, size: tuple[int, int]) -> bool:
    """Return whether a sampling position may be exactly the centre of a pixel.

    The last bit of a float then decides on the result, so whole frames are moved. ``magnitude`` is
    a round number if it is not random or was clipped; and a rotation maps the centre of a frame
    with odd sides to itself.
    """
    return magnitude == round(magnitude, 6) or (size[0] % 2 == size[1] % 2 == 1)


@dataclass(frozen=True)
class _Filter:
    """An operation that moves no pixels, and reads up to ``reach`` pixels around each.

    ``reach`` is None if it depends on the whole frame.
    """

    operation: Callable[[Image.Image], Image.Image]
    reach: int | None

    def needs(self, box: Box, size: tuple[int, int]) -> Box:
        """Return the part of the input frame that ``box`` of the output frame depends on."""
        return (0, 0, *size) if self.reach is None else _add_margin(box, self.reach, size)

    def run(self, picture: Image.Image, before: Box, after: Box) -> Image.Image:
        """Apply the operation to the part ``before`` of a frame; returns the part ``after``."""
        picture = self.operation(picture)
        if before == after:
            return picture
        left, top = before[:2]
        return picture.crop((after[0] - left, after[1] - top, after[2] - left, after[3] - top))


@dataclass(frozen=True)
class _Move:
    """An affine operation: output pixel (x, y) is input pixel (a x + b y + c, d x + e y + f)."""

    matrix: tuple[float, float, float, float, float, float]
    options: dict[str, Any]

    def needs(self, box: Box, size: tuple[int, int]) -> Box:
        """Return the part of the input frame that ``box`` of the output frame depends on."""
        a, b, c, d, e, f = self.matrix
        corners = [(x, y) for x in box[::2] for y in box[1::2]]
        columns = [a * x + b * y + c for x, y in corners]
        rows = [d * x + e * y + f for x, y in corners]
        left, top = math.floor(min(columns)), math.floor(min(rows))
        right, bottom = math.ceil(max(columns)), math.ceil(max(rows))
        return _add_margin((left, top, right, bottom), 2, size)  # a bicubic filter has four taps

    def run(self, picture: Image.Image, before: Box, after: Box) -> Image.Image:
        """Apply the operation to the part ``before`` of a frame; returns the part ``after``."""
        a, b, c, d, e, f = self.matrix
        left, top, right, bottom = after
        c = c + a * left + b * top - before[0]
        f = f + d * left + e * top - before[1]
        size, matrix = (right - left, bottom - top), (a, b, c, d, e, f)
        return picture.transform(size, Image.Transform.AFFINE, matrix, **self.options)


_Step = _Filter | _Move


def _add_margin(box: Box, margin: int, size: tuple[int, int]) -> Box:
    """Add a margin to ``box``, clipped to the frame of (width, height); at least one pixel."""
    left, right = _clip_range(box[0] - margin, box[2] + margin, size[0])
    top, bottom = _clip_range(box[1] - margin, box[3] + margin, size[1])
    return left, top, right, bottom


def _clip_range(begin: int, end: int, length: int) -> tuple[int, int]:
    begin = min(max(begin, 0), length - 1)
    return begin, max(min(end, length), begin + 1)
