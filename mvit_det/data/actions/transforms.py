"""Augmentation and test transforms of action detection, applied to frames and boxes alike.

They take frames uint8 (T, H, W, 3) and boxes (N, 4), x1, y1, x2, y2 as fractions of a frame, and
return a normalised float tensor (3, T, h, w) and the boxes in its pixels, float32 (N, 4). N may be
0. Rules and random numbers are those of PySlowFast for AVA (slowfast/datasets/ava_dataset.py):

* Box coordinates are clipped to 0..W - 1 and 0..H - 1, and x is mirrored to W - 1 - x.
* A box outside the crop is kept, clipped to the edge and possibly without area, so that the number
  of boxes and labels does not change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvit_det.data.video.crops import (
    ClipCrop,
    ShortSideJitter,
    Size,
    resize_and_crop,
    resized_size,
    uniform_crops,
    whole_frame,
)
from mvit_det.data.video.transforms import (
    CLIP_MEAN,
    CLIP_STD,
    Normalise,
    check_short_side,
    height_and_width,
)
from mvit_det.errors import check_choice, check_range, check_share

ActionTransform = Callable[[np.ndarray, np.ndarray], tuple[Tensor, Tensor]]


def action_train_transform(
    size: Sequence[int],
    *,
    short_side: tuple[int, int] = (256, 320),
    hflip: float = 0.5,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
) -> ActionTransform:
    """Build PySlowFast's augmentation for AVA: resize by a random factor, crop, flip, normalise.

    RandAugment and random erasing are not part of it: PySlowFast ignores them here, although its
    configs set them.

    Args:
        size: (frames, height, width) of the result; the number of frames is not changed.
        short_side: smallest and largest shorter side of the resized frames, in pixels.
        hflip: probability (0..1) of a horizontal flip; 0 if actions distinguish left from right.
        mean: per RGB channel, for values in 0..1.
        std: per RGB channel, for values in 0..1.

    Raises:
        UserError: an argument is out of its range, or the crop is larger than ``short_side``.
    """
    name = "action_train_transform"
    crop = height_and_width(size)
    check_share(name, hflip=hflip)
    check_range(name, short_side=short_side)
    check_short_side(name, int(short_side[0]), crop)
    jitter = ShortSideJitter(crop, (short_side[0], short_side[1]))
    return _TrainAction(jitter, hflip, Normalise(mean, std))


@dataclass
class _TrainAction:
    """See `action_train_transform`."""

    crop: ShortSideJitter
    hflip: float
    normalise: Normalise

    def __call__(self, frames: np.ndarray, boxes: np.ndarray) -> tuple[Tensor, Tensor]:
        clip, boxes = _crop(frames, boxes, self.crop.draw(*frames.shape[1:3]))
        if self.hflip > 0 and np.random.uniform() < self.hflip:
            clip = clip.flip(-1)
            boxes[:, [0, 2]] = clip.shape[-1] - 1 - boxes[:, [2, 0]]
        return self.normalise(clip), _clip_boxes(boxes, *clip.shape[-2:])


def action_test_transform(
    size: Sequence[int],
    *,
    crop: str = "center",
    short_side: int | None = None,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
) -> "ActionTestTransform":
    """Build the test transform: resize, then the centre crop or whole frames (paper, Table A.2).

    Args:
        size: (frames, height, width) of the crop; the number of frames is not changed.
        crop: "center": the centre, of ``size``. "full": whole frames, so that the width or the
            height of the result differs from video to video.
        short_side: shorter side of the resized frames, in pixels; None: the crop's shorter side.
        mean: per RGB channel, for values in 0..1.
        std: per RGB channel, for values in 0..1.

    Raises:
        UserError: ``crop`` is unknown, or the crop is larger than ``short_side``.
    """
    name = "action_test_transform"
    sides = height_and_width(size)
    check_choice(name, ("center", "full"), crop=crop)
    if short_side is None:
        short_side = min(sides)
    cut = sides if crop == "center" else None
    check_short_side(name, short_side, cut or (1, 1))
    return ActionTestTransform(short_side, cut, Normalise(mean, std))


@dataclass
class ActionTestTransform:
    """See `action_test_transform`."""

    short_side: int
    crop: Size | None
    normalise: Normalise

    def __call__(self, frames: np.ndarray, boxes: np.ndarray) -> tuple[Tensor, Tensor]:
        """Transform frames uint8 (T, H, W, 3) and boxes (N, 4), x1, y1, x2, y2 as fractions.

        Returns:
            Normalised clip float (3, T, h, w), and boxes in its pixels, float32 (N, 4).
        """
        clip, boxes = _crop(frames, boxes, self._crop_of(*frames.shape[1:3]))
        return self.normalise(clip), _clip_boxes(boxes, *clip.shape[-2:])

    def visible_area(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Return the visible part of frames of this size: x1, y1, x2, y2 as fractions (0..1)."""
        crop = self._crop_of(height, width)
        rows, columns = crop.resized
        left, top, right, bottom = crop.cut
        return left / columns, top / rows, right / columns, bottom / rows

    def _crop_of(self, height: int, width: int) -> ClipCrop:
        size = resized_size(height, width, self.short_side, self.crop or (1, 1))
        cut = whole_frame(*size) if self.crop is None else uniform_crops(size, self.crop, 1)[0]
        return ClipCrop(whole_frame(height, width), size, cut)


def _crop(frames: np.ndarray, boxes: np.ndarray, crop: ClipCrop) -> tuple[Tensor, np.ndarray]:
    """Crop a clip; returns it as (3, T, h, w), and the boxes in its pixels, float64 (N, 4).

    NOTE: both axes of boxes are scaled by the factor of the longer side, which is rounded down to
    whole pixels, as in the released code; on the other axis this is off by up to a quarter pixel.
    """
    height, width = frame = frames.shape[1:3]
    boxes = boxes * np.array([width, height, width, height], dtype=np.float64)
    boxes = np.clip(boxes, 0, [width - 1, height - 1, width - 1, height - 1])
    boxes *= max(crop.resized) / max(frame)
    return resize_and_crop(frames, crop.resized, crop.cut), boxes - np.tile(crop.cut[:2], 2)


def _clip_boxes(boxes: np.ndarray, height: int, width: int) -> Tensor:
    """Clip boxes (N, 4) in pixels to a picture of ``height`` x ``width``; returns float32."""
    boxes = np.clip(boxes, 0, [width - 1, height - 1, width - 1, height - 1])
    return torch.from_numpy(boxes.astype(np.float32))
