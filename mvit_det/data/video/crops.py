"""Which part of the frames of a clip is seen, and how large: the same for all of its frames.

Sizes and offsets are rounded as PySlowFast rounds them, and drawn in its order from its generators.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch.nn.functional import interpolate

from mvit_det.data.rand_augment import Box

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class View:
    """The part ``source`` of a frame is resized, and the part ``cut`` of the result is seen."""

    source: Box
    resized: Size
    cut: Box

    def needs(self) -> Box:
        """The part of the frame that what is seen depends on."""
        left, top, right, bottom = self.source
        columns = _taps(self.cut[0], self.cut[2], right - left, self.resized[1])
        rows = _taps(self.cut[1], self.cut[3], bottom - top, self.resized[0])
        return left + columns[0], top + rows[0], left + columns[1], top + rows[1]

    def of(self, pixels: np.ndarray) -> torch.Tensor:
        """What is seen of ``source``: float (3, T, height, width), values as before.

        Args:
            pixels: of the part of the frames that `needs` names: uint8 (T, ., ., 3).
        """
        left, top, right, bottom = self.source
        known = self.needs()
        if known != self.source:
            whole = np.zeros((len(pixels), bottom - top, right - left, 3), np.uint8)
            rows = slice(known[1] - top, known[3] - top)
            columns = slice(known[0] - left, known[2] - left)
            whole[:, rows, columns] = pixels
            pixels = whole
        return resized(pixels, self.resized, self.cut)


def _taps(begin: int, end: int, length: int, resized: int) -> tuple[int, int]:
    """The pixels that bilinear resizing takes for those from ``begin`` to ``end``, and one more."""
    ratio = length / resized
    first, last = (begin + 0.5) * ratio - 0.5, (end - 0.5) * ratio - 0.5
    return max(math.floor(first) - 1, 0), min(math.floor(last) + 3, length)


def resized(frames: np.ndarray, size: Size, part: Box) -> torch.Tensor:
    """``part`` of resized frames: uint8 (T, H, W, 3) to float (3, T, height, width), bilinear.

    One frame after the other, so that of large ones no more than one is held in floats.

    NOTE: without a low-pass filter where frames shrink, as in the released code: the models are used
    to what that gives.
    """
    left, top, right, bottom = part
    result = torch.empty(3, len(frames), bottom - top, right - left)
    pixels = torch.from_numpy(np.require(frames, requirements="W")).permute(0, 3, 1, 2)
    for index, frame in enumerate(pixels):
        planes = frame.contiguous().float()
        if planes.shape[1:] != size:
            # three images of one channel: of one with three, torch rounds places differently
            planes = interpolate(planes[:, None], size=size, mode="bilinear")[:, 0]
        result[:, index] = planes[:, top:bottom, left:right]
    return result


def whole(height: int, width: int) -> Box:
    return 0, 0, width, height


def covering(height: int, width: int, short_side: int, crop: Size) -> Size:
    """The size of frames whose shorter side becomes ``short_side``.

    NOTE: more only where a crop would not fit, which is possible for crops that are not square.
    """
    if min(height, width) == short_side:
        size = (height, width)
    elif width < height:
        size = (int(height / width * short_side), short_side)
    else:
        size = (short_side, int(width / height * short_side))
    lacking = max(crop[0] / size[0], crop[1] / size[1])
    if lacking <= 1:
        return size
    return max(crop[0], round(size[0] * lacking)), max(crop[1], round(size[1] * lacking))


@dataclass(frozen=True)
class InceptionCrop:
    """A part of random area and shape, resized (Szegedy et al., CVPR 2015).

    Args:
        size: height and width of the result.
        scale, ratio: of the part: its share of the area of a frame, and width over height.
    """

    size: Size
    scale: tuple[float, float]
    ratio: tuple[float, float]

    def draw(self, height: int, width: int) -> View:
        frame = torch.empty(height, width, device="meta")  # timm asks for its size alone
        top, left, rows, columns = RandomResizedCropAndInterpolation.get_params(
            frame, self.scale, self.ratio
        )
        rows, columns = max(rows, 1), max(columns, 1)  # of a frame of a few pixels
        top, left = min(top, height - rows), min(left, width - columns)
        return View((left, top, left + columns, top + rows), self.size, whole(*self.size))


@dataclass(frozen=True)
class ShortSideJitter:
    """Frames are resized by a random factor; a part of the wanted size is cut out.

    Args:
        size: height and width of the part.
        short_side: smallest and largest that the shorter side becomes; its inverse is drawn
            uniformly.
    """

    size: Size
    short_side: tuple[int, int]

    def draw(self, height: int, width: int) -> View:
        smallest, largest = self.short_side
        short_side = int(round(1 / np.random.uniform(1 / largest, 1 / smallest)))
        frame = covering(height, width, short_side, self.size)
        # NOTE: the last place is never drawn, as in the released code.
        top, left = (
            int(np.random.randint(0, side - part)) if side > part else 0
            for side, part in zip(frame, self.size)
        )
        cut = (left, top, left + self.size[1], top + self.size[0])
        return View(whole(height, width), frame, cut)


def uniform_crops(frame: Size, crop: Size, crops: int) -> list[Box]:
    """The centre; or of three both ends and the centre, along the axis that most is left over of.

    Of wide frames those are left, centre, right; of tall ones top, centre, bottom.
    """
    spare = [side - part for side, part in zip(frame, crop)]
    centre = [math.ceil(left_over / 2) for left_over in spare]
    along = 0 if spare[0] > spare[1] else 1
    places = []
    for offset in [centre[along]] if crops == 1 else [0, centre[along], spare[along]]:
        place = list(centre)
        place[along] = offset
        places.append(place)
    return [(left, top, left + crop[1], top + crop[0]) for top, left in places]
