"""Augmentation and test transforms of action detection: what happens to frames happens to boxes.

They take frames uint8 (T, H, W, 3) and boxes (N, 4), x1, y1, x2, y2 as shares of a frame, and give a
normalised float tensor (3, T, h, w) and the boxes in pixels of it, float32 (N, 4). N may be 0. The
rules are PySlowFast's for AVA, and so are the random numbers:

* A box ends one pixel before the end of a frame: pixels count from 0 to W - 1, and x mirrored is
  W - 1 - x.
* A box that a crop leaves out stays, without area or as what is left of it at the edge. Its person
  is to be found all the same, or must not be.
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
    """Resize by a random factor, crop, flip, normalise: PySlowFast's augmentation for AVA.

    It has no RandAugment and no erasing, whatever its configuration says.

    Args:
        size: frames, height and width of the result; frames are taken as they come.
        short_side: smallest and largest shorter side of the frames, in pixels.
        hflip: probability; 0 where actions tell left from right.
        mean, std: of RGB values in 0..1.
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
    """Resized frames, their centre or all of them: the two columns of the paper's Table A.2.

    Args:
        size: frames, height and width of the crop; frames are taken as they come.
        crop: "center": of ``size``. "full": whole frames, so that the width or the height of the
            result differs from video to video.
        short_side: that frames are resized to, in pixels; by default the crop's own shorter side.
        mean, std: of RGB values in 0..1.
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
        clip, boxes = _seen(frames, boxes, self._view(*frames.shape[1:3]))
        return self.normalise(clip), _inside(boxes, clip.shape[-2:])

    def shown(self, height: int, width: int) -> tuple[float, float, float, float]:
        """The part of frames of this size that is seen: x1, y1, x2, y2 as shares of them."""
        view = self._view(height, width)
        rows, columns = view.resized
        return tuple(at / side for at, side in zip(view.cut, (columns, rows, columns, rows)))

    def _view(self, height: int, width: int) -> View:
        size = covering(height, width, self.short_side, self.crop or (1, 1))
        cut = whole(*size) if self.crop is None else uniform_crops(size, self.crop, 1)[0]
        return View(whole(height, width), size, cut)


def _seen(frames: np.ndarray, boxes: np.ndarray, view: View) -> tuple[torch.Tensor, np.ndarray]:
    """What is seen of frames; and boxes (N, 4) as shares of a frame in pixels of that, float64.

    NOTE: both axes are scaled by the factor of the longer side, which is rounded down to whole
    pixels, as in the released code: up to a quarter of a pixel beside where the shorter side is.
    """
    height, width = frame = frames.shape[1:3]
    boxes = boxes * np.array([width, height, width, height], dtype=np.float64)
    boxes = np.clip(boxes, 0, [width - 1, height - 1, width - 1, height - 1])
    boxes *= max(view.resized) / max(frame)
    return resized(frames, view.resized, view.cut), boxes - np.tile(view.cut[:2], 2)


def _inside(boxes: np.ndarray, size: Size) -> torch.Tensor:
    """What of boxes (N, 4) is inside of a picture; float32."""
    height, width = size
    boxes = np.clip(boxes, 0, [width - 1, height - 1, width - 1, height - 1])
    return torch.from_numpy(boxes.astype(np.float32))
