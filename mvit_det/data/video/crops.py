"""Crops of a clip: a part of the frames and the size it is resized to, the same for all frames.

Sizes and offsets are rounded as in PySlowFast (slowfast/datasets/transform.py), and drawn in its
order from its generators.
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
class ClipCrop:
    """A crop of all frames of a clip: the part ``source`` is resized, and then cut to ``cut``.

    Attributes:
        source: left, top, right, bottom in pixels of the frame.
        resized: (height, width) that ``source`` is resized to.
        cut: left, top, right, bottom in pixels of the resized part.
    """

    source: Box
    resized: Size
    cut: Box

    def needed_part(self) -> Box:
        """Return the pixels of a frame that the crop depends on: left, top, right, bottom."""
        left, top, right, bottom = self.source
        columns = _pixels_read(self.cut[0], self.cut[2], right - left, self.resized[1])
        rows = _pixels_read(self.cut[1], self.cut[3], bottom - top, self.resized[0])
        return left + columns[0], top + rows[0], left + columns[1], top + rows[1]

    def apply(self, pixels: np.ndarray) -> torch.Tensor:
        """Compute the crop: float (3, T, height, width), values 0..255.

        Args:
            pixels: uint8 (T, h, w, 3), the `needed_part` of the frames.
        """
        left, top, right, bottom = self.source
        known = self.needed_part()
        if known != self.source:
            padded = np.zeros((len(pixels), bottom - top, right - left, 3), np.uint8)
            rows = slice(known[1] - top, known[3] - top)
            columns = slice(known[0] - left, known[2] - left)
            padded[:, rows, columns] = pixels
            pixels = padded
        return resize_and_crop(pixels, self.resized, self.cut)


def _pixels_read(begin: int, end: int, length: int, resized: int) -> tuple[int, int]:
    """Return the range of pixels that bilinear resizing reads for ``begin:end``, plus a margin.

    ``length`` and ``resized`` are the sizes along this axis before and after resizing.
    """
    ratio = length / resized
    first, last = (begin + 0.5) * ratio - 0.5, (end - 0.5) * ratio - 0.5
    return max(math.floor(first) - 1, 0), min(math.floor(last) + 3, length)


def resize_and_crop(frames: np.ndarray, size: Size, part: Box) -> torch.Tensor:
    """Resize frames bilinearly, and return a part of them: float (3, T, height, width), 0..255.

    Frames are resized one by one, so that only one is held in floating point.

    NOTE: without antialiasing, as in the released code. It has frames of Kinetics shrunk by the
    decoder first, with a low-pass filter (``resize_on_decoding`` of `ClipMapper`).

    Args:
        frames: uint8 (T, H, W, 3).
        size: (height, width) to resize to.
        part: left, top, right, bottom in pixels of the resized frames.
    """
    left, top, right, bottom = part
    result = torch.empty(3, len(frames), bottom - top, right - left)
    pixels = torch.from_numpy(np.require(frames, requirements="W")).permute(0, 3, 1, 2)
    for index, frame in enumerate(pixels):
        planes = frame.contiguous().float()
        if planes.shape[1:] != size:
            # as three images with one channel: torch rounds positions differently for 3 channels
            planes = interpolate(planes[:, None], size=size, mode="bilinear")[:, 0]
        result[:, index] = planes[:, top:bottom, left:right]
    return result


def whole_frame(height: int, width: int) -> Box:
    """Return the box of a whole frame: left, top, right, bottom."""
    return 0, 0, width, height


def resized_size(height: int, width: int, short_side: int, crop: Size) -> Size:
    """Compute the (height, width) of frames resized to a shorter side of ``short_side`` pixels.

    NOTE: the result is larger if ``crop`` (height, width) would not fit otherwise, which happens
    only for crops that are not square.
    """
    if min(height, width) == short_side:
        size = (height, width)
    elif width < height:
        size = (int(height / width * short_side), short_side)
    else:
        size = (short_side, int(width / height * short_side))
    enlargement = max(crop[0] / size[0], crop[1] / size[1])
    if enlargement <= 1:
        return size
    return max(crop[0], round(size[0] * enlargement)), max(crop[1], round(size[1] * enlargement))


@dataclass(frozen=True)
class InceptionCrop:
    """A crop of random area and aspect ratio, resized (Szegedy et al., CVPR 2015).

    Args:
        size: (height, width) of the result in pixels.
        scale: smallest and largest share (0..1) of the frame's area.
        ratio: smallest and largest width / height.
    """

    size: Size
    scale: tuple[float, float]
    ratio: tuple[float, float]

    def draw(self, height: int, width: int) -> ClipCrop:
        """Draw a crop of frames of ``height`` x ``width`` pixels, from Python's generator."""
        frame = torch.empty(height, width, device="meta")  # timm reads its size only
        top, left, rows, columns = RandomResizedCropAndInterpolation.get_params(
            frame, self.scale, self.ratio
        )
        rows, columns = max(rows, 1), max(columns, 1)  # for frames of a few pixels
        top, left = min(top, height - rows), min(left, width - columns)
        return ClipCrop((left, top, left + columns, top + rows), self.size, whole_frame(*self.size))


@dataclass(frozen=True)
class ShortSideJitter:
    """A crop at a random position of frames that are resized by a random factor.

    Args:
        size: (height, width) of the crop in pixels.
        short_side: smallest and largest shorter side of the resized frames, in pixels; its inverse
            is drawn uniformly.
    """

    size: Size
    short_side: tuple[int, int]

    def draw(self, height: int, width: int) -> ClipCrop:
        """Draw a crop of frames of ``height`` x ``width`` pixels, from NumPy's generator."""
        smallest, largest = self.short_side
        short_side = int(round(1 / np.random.uniform(1 / largest, 1 / smallest)))
        frame = resized_size(height, width, short_side, self.size)
        # NOTE: the last position is never drawn, as in the released code.
        top, left = (
            int(np.random.randint(0, side - part)) if side > part else 0
            for side, part in zip(frame, self.size)
        )
        cut = (left, top, left + self.size[1], top + self.size[0])
        return ClipCrop(whole_frame(height, width), frame, cut)


def uniform_crops(frame: Size, crop: Size, crops: int) -> list[Box]:
    """Return the centre crop, or three crops along the axis with the most room.

    Three crops are left, centre and right in wide frames; top, centre and bottom in tall ones.

    Args:
        frame: (height, width) of the frames.
        crop: (height, width) of a crop, not larger.
        crops: 1 or 3.

    Returns:
        Per crop left, top, right, bottom in pixels of the frame.
    """
    spare = [side - part for side, part in zip(frame, crop)]
    centre = [math.ceil(margin / 2) for margin in spare]
    axis = 0 if spare[0] > spare[1] else 1
    corners = []
    for offset in [centre[axis]] if crops == 1 else [0, centre[axis], spare[axis]]:
        corner = list(centre)
        corner[axis] = offset
        corners.append(corner)
    return [(left, top, left + crop[1], top + crop[0]) for top, left in corners]
