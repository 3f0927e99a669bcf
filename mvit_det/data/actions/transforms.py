"""Augmentation and test transforms of action detection, applied to frames and boxes alike.

They take frames uint8 (T, H, W, 3) and boxes (N, 4), x1, y1, x2, y2 as fractions of a frame, and
return a normalised float tensor (3, T, h, w) and the boxes in pixels of it, float32 (N, 4). N may
be 0. Rules and random numbers are those of PySlowFast for AVA:

* Box coordinates are clipped to 0..W - 1 and 0..H - 1, and x is mirrored to W - 1 - x.
* A box outside the crop is kept, clipped to the edge and possibly without area, so that the number
  of boxes and labels does not change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mvit_det.data.video.crops import (
    ShortSideJitter,
    Size,
    View,
    covering,
    resized,
    uniform_crops,
    whole,
)
from mvit_det.data.video.transforms import (
    CLIP_MEAN,
    CLIP_STD,
    Normalise,
    check_short_side,
    height_and_width,
)
from mvit_det.errors import check_choice, check_range, check_share

ActionTransform = Callable[[np.ndarray, np.ndarray], tuple[torch.Tensor, torch.Tensor]]


def action_train_transform(
    size: Sequence[int],
    *,
    short_side: tuple[int, int] = (256, 320),
    hflip: float = 0.5,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
) -> ActionTransform:
    """Build PySlowFast's augmentation for AVA: resize by a random factor, crop, flip, normalise.

    RandAugment and random erasing are not part of it, as in PySlowFast, whatever its configs say.

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
    return _TrainAction(ShortSideJitter(crop, tuple(short_side)), hflip, Normalise(mean, std))


@dataclass
class _TrainAction:
    """See `action_train_transform`."""

    crop: ShortSideJitter
    hflip: float
    normalise: Normalise

    def __call__(self, frames: np.ndarray, boxes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        clip, boxes = _seen(frames, boxes, self.crop.draw(*frames.shape[1:3]))
        if self.hflip > 0 and np.random.uniform() < self.hflip:
            clip = clip.flip(-1)
            boxes[:, [0, 2]] = clip.shape[-1] - 1 - boxes[:, [2, 0]]
        return self.normalise(clip), _inside(boxes, clip.shape[-2:])


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

    def __call__(self, frames: np.ndarray, boxes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Transform frames uint8 (T, H, W, 3) and boxes (N, 4) as fractions: see the module."""
        clip, boxes = _seen(frames, boxes, self._view(*frames.shape[1:3]))
        return self.normalise(clip), _inside(boxes, clip.shape[-2:])

    def shown(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Return the visible part of frames of this size: x1, y1, x2, y2 as fractions (0..1)."""
        view = self._view(height, width)
        rows, columns = view.resized
        return tuple(at / side for at, side in zip(view.cut, (columns, rows, columns, rows)))

    def _view(self, height: int, width: int) -> View:
        size = covering(height, width, self.short_side, self.crop or (1, 1))
        cut = whole(*size) if self.crop is None else uniform_crops(size, self.crop, 1)[0]
        return View(whole(height, width), size, cut)


def _seen(frames: np.ndarray, boxes: np.ndarray, view: View) -> tuple[torch.Tensor, np.ndarray]:
    """Cut out a view; returns a clip (3, T, h, w) and the boxes in its pixels, float64 (N, 4).

    NOTE: both axes of boxes are scaled by the factor of the longer side, which is rounded down to
    whole pixels, as in the released code; on the other axis this is off by up to a quarter pixel.
    """
    height, width = frame = frames.shape[1:3]
    boxes = boxes * np.array([width, height, width, height], dtype=np.float64)
    boxes = np.clip(boxes, 0, [width - 1, height - 1, width - 1, height - 1])
    boxes *= max(view.resized) / max(frame)
    return resized(frames, view.resized, view.cut), boxes - np.tile(view.cut[:2], 2)


def _inside(boxes: np.ndarray, size: Size) -> torch.Tensor:
    """Clip boxes (N, 4) in pixels to a picture of (height, width); float32."""
    height, width = size
    boxes = np.clip(boxes, 0, [width - 1, height - 1, width - 1, height - 1])
    return torch.from_numpy(boxes.astype(np.float32))
