"""Augmentation and test transforms of video recognition.

They take frames uint8 (T, H, W, 3) and give normalised float tensors. What is drawn is drawn once
for a clip and is the same for all of its frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from timm.data.random_erasing import RandomErasing
from torchvision.transforms.functional import normalize

from mvit_det.data.rand_augment import ClipRandAugment, augmented
from mvit_det.data.video.crops import (
    InceptionCrop,
    ShortSideJitter,
    Size,
    covering,
    resized,
    uniform_crops,
    whole,
)
from mvit_det.errors import (
    UserError,
    check_choice,
    check_count,
    check_number,
    check_range,
    check_share,
    check_size,
)

Transform = Callable[[np.ndarray], torch.Tensor]

CLIP_MEAN = (0.45, 0.45, 0.45)
CLIP_STD = (0.225, 0.225, 0.225)


def clip_train_transform(
    size: Sequence[int],
    *,
    crop: str = "inception",
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (0.75, 1.3333),
    short_side: tuple[int, int] = (256, 320),
    hflip: float = 0.5,
    auto_augment: str | None = "rand-m7-n4-mstd0.5-inc1",
    erase_prob: float = 0.25,
    erase_mode: str = "pixel",
    erase_count: int = 1,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
) -> Transform:
    """RandAugment, crop, flip, normalise, erase: the released recipe (paper, appendix B.4, B.5).

    From frames uint8 (T, H, W, 3) to float (3, T, height, width). Order and random numbers are those
    of PySlowFast's loaders, but for two: its Inception crop also draws for an option that is off,
    and hence another flip; and it draws the noise in erased boxes frame by frame.

    NOTE: PySlowFast augments and normalises Something-Something as BGR. Here frames are RGB: the
    weights of colours in RandAugment's "color" and "contrast" are the right ones, and where ``mean``
    differs by colour, the released numbers are to be given in reverse.

    Args:
        size: frames, height and width of the result; frames are taken as they come.
        crop: "inception" cuts out a part and resizes it (Kinetics); "short_side_jitter" resizes and
            then cuts out a part of ``size`` (Something-Something).
        scale, ratio: of the first: its share of the area, and width over height.
        short_side: of the second: smallest and largest shorter side of the frames, in pixels.
        hflip: probability; 0 where classes tell left from right.
        auto_augment: see `ClipRandAugment`.
        erase_prob, erase_mode, erase_count: random erasing (Zhong et al., AAAI 2020): one rectangle
            for all frames; "pixel" fills it with normal noise, of its own in each frame, "rand" each
            frame with a colour, "const" with the mean.
        mean, std: of RGB values in 0..1.
    """
    height, width = height_and_width(size)
    name = "clip_train_transform"
    check_share(name, hflip=hflip, erase_prob=erase_prob)
    check_range(name, scale=scale, ratio=ratio, short_side=short_side)
    check_choice(name, ("pixel", "rand", "const"), erase_mode=erase_mode)
    check_count(name, erase_count=erase_count)
    crops = {
        "inception": InceptionCrop((height, width), tuple(scale), tuple(ratio)),
        "short_side_jitter": ShortSideJitter((height, width), tuple(short_side)),
    }
    check_choice(name, crops, crop=crop)
    if not (0 < scale[0] and scale[1] <= 1 and 0 < ratio[0]):
        raise UserError(
            f"scale={tuple(scale)} of clip_train_transform must be a smallest and a largest share "
            f"within 0 and 1, ratio={tuple(ratio)} above 0."
        )
    if crop == "short_side_jitter":
        check_short_side(name, int(short_side[0]), (height, width))
    erasing = None
    if erase_prob > 0:
        erasing = RandomErasing(erase_prob, mode=erase_mode, max_count=erase_count, device="cpu")
    augment = None if auto_augment is None else ClipRandAugment(auto_augment)
    return _TrainClip(augment, crops[crop], hflip, Normalise(mean, std), erasing)


@dataclass
class _TrainClip:
    """See `clip_train_transform`."""

    augment: ClipRandAugment | None
    crop: InceptionCrop | ShortSideJitter
    hflip: float
    normalise: "Normalise"
    erasing: RandomErasing | None

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        height, width = frames.shape[1:3]
        steps = [] if self.augment is None else self.augment.draw(width, height)
        view = self.crop.draw(height, width)
        clip = view.of(augmented(frames, steps, view.needs()))
        if self.hflip > 0 and np.random.uniform() < self.hflip:
            clip = clip.flip(-1)
        # Fewer numbers than before the crop, and as resizing is linear, the same.
        clip = self.normalise(clip)
        if self.erasing is not None:
            self.erasing(clip.flatten(0, 1))  # to timm all frames are channels of one image
        return clip


def clip_test_transform(
    size: Sequence[int],
    *,
    crops: int = 1,
    short_side: int | None = None,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
) -> Transform:
    """One or three crops of resized frames: uint8 (T, H, W, 3) to float (crops, 3, T, height, width).

    Args:
        size: frames, height and width of a crop; frames are taken as they come.
        crops: 1: the centre. 3: left, centre and right, or of tall frames top, centre and bottom.
        short_side: that frames are resized to, in pixels; by default what the released code has: for
            one crop 256 / 224 of the crop's shorter side, for three crops the crop's side itself.
            (The paper has 256 for 224 in both cases.)
        mean, std: of RGB values in 0..1.
    """
    sides = height_and_width(size)
    check_choice("clip_test_transform", (1, 3), crops=crops)
    if short_side is None:
        short_side = min(sides) * 256 // 224 if crops == 1 else min(sides)
    check_short_side("clip_test_transform", short_side, sides)
    return _TestClip(sides, crops, short_side, Normalise(mean, std))


@dataclass
class _TestClip:
    """See `clip_test_transform`."""

    size: Size
    crops: int
    short_side: int
    normalise: "Normalise"

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        size = covering(*frames.shape[1:3], self.short_side, self.size)
        places = uniform_crops(size, self.size, self.crops)
        if len(places) == 1:
            return self.normalise(resized(frames, size, places[0])[None])
        clip = resized(frames, size, whole(*size))
        views = [clip[..., top:bottom, left:right] for left, top, right, bottom in places]
        return self.normalise(torch.stack(views))


class Normalise:
    """Normalises clips of pixel values (..., 3, T, H, W) in place."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UserError(
                f"mean={list(mean)} and std={list(std)} of a clip's transform must have a number for "
                "red, green and blue each, for RGB values in 0..1; std above 0."
            )
        self.mean = [255 * value for value in mean]
        self.std = [255 * value for value in std]

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        below_each_other = clips.flatten(-3, -2)  # a view: what torchvision takes are images
        normalize(below_each_other, self.mean, self.std, inplace=True)
        return clips


def height_and_width(size: Sequence[int]) -> Size:
    """Of a clip's size (frames, height, width)."""
    return check_size("a clip's transform", "frames,height,width", size)[1:]


def check_short_side(transform: str, short_side: int, crop: Size) -> None:
    """Refuse a shorter side of frames that crops do not fit into."""
    check_number(
        transform,
        f"a whole number that is not below the shorter side of the crop, {min(crop)}",
        lambda side: isinstance(side, int) and side >= min(crop),
        short_side=short_side,
    )
