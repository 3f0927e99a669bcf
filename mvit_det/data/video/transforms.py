"""Augmentation and test transforms of video classification.

They take frames uint8 (T, H, W, 3) and return normalised float tensors. Random numbers are drawn
once per clip and are the same for all of its frames.
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
    resize_and_crop,
    resized_size,
    uniform_crops,
    whole_frame,
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
    """Build the released augmentation: RandAugment, crop, flip, normalise, erase.

    From frames uint8 (T, H, W, 3) to float (3, T, height, width). Source: paper, appendix B.4 and
    B.5. Order and random numbers are those of PySlowFast's loaders, with two exceptions: its
    Inception crop also draws a number for an option that is off, so that flips differ; and it draws
    the noise in erased boxes frame by frame.

    NOTE: PySlowFast augments and normalises Something-Something as BGR. Frames here are RGB, so
    that the weights of colours in RandAugment's "color" and "contrast" are correct; if ``mean``
    differs by channel, the released numbers must be reversed.

    Args:
        size: (frames, height, width) of the result; the number of frames is not changed.
        crop: "inception" cuts out a part and resizes it (Kinetics); "short_side_jitter" resizes and
            then cuts out a part of ``size`` (Something-Something).
        scale: for "inception", smallest and largest share (0..1) of the frame's area.
        ratio: for "inception", smallest and largest width / height.
        short_side: for "short_side_jitter", smallest and largest shorter side of the resized
            frames, in pixels.
        hflip: probability (0..1) of a horizontal flip; 0 if classes distinguish left from right.
        auto_augment: RandAugment as for `ClipRandAugment`; None: none.
        erase_prob: probability (0..1) of random erasing (Zhong et al., AAAI 2020), with the same
            rectangles in all frames.
        erase_mode: "pixel" fills with normal noise, different in each frame; "rand" fills each
            frame with a random colour; "const" fills with the mean.
        erase_count: largest number of erased rectangles, at least 1.
        mean: per RGB channel, for values in 0..1.
        std: per RGB channel, for values in 0..1.

    Raises:
        UserError: an argument is out of its range or not known, or the crop is larger than
            ``short_side``.
    """
    height, width = height_and_width(size)
    name = "clip_train_transform"
    check_share(name, hflip=hflip, erase_prob=erase_prob)
    check_range(name, scale=scale, ratio=ratio, short_side=short_side)
    check_choice(name, ("pixel", "rand", "const"), erase_mode=erase_mode)
    check_count(name, erase_count=erase_count)
    crops: dict[str, InceptionCrop | ShortSideJitter] = {
        "inception": InceptionCrop((height, width), (scale[0], scale[1]), (ratio[0], ratio[1])),
        "short_side_jitter": ShortSideJitter((height, width), (short_side[0], short_side[1])),
    }
    check_choice(name, crops, crop=crop)
    if not (0 < scale[0] and scale[1] <= 1 and 0 < ratio[0]):
        raise UserError(
            f"scale={tuple(scale)} of clip_train_transform must be a smallest and a largest share "
            f"from above 0 to 1, and ratio={tuple(ratio)} must be above 0."
        )
    decoded = released_short_side((height, width))
    if crop == "short_side_jitter":
        decoded = int(short_side[0])
        check_short_side(name, decoded, (height, width))
    erasing = None
    if erase_prob > 0:
        erasing = RandomErasing(erase_prob, mode=erase_mode, max_count=erase_count, device="cpu")
    augment = None if auto_augment is None else ClipRandAugment(auto_augment)
    return _TrainClip(decoded, augment, crops[crop], hflip, Normalise(mean, std), erasing)


@dataclass
class _TrainClip:
    """See `clip_train_transform`; ``short_side`` is that of frames which the decoder resizes."""

    short_side: int
    augment: ClipRandAugment | None
    crop: InceptionCrop | ShortSideJitter
    hflip: float
    normalise: "Normalise"
    erasing: RandomErasing | None

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        height, width = frames.shape[1:3]
        steps = [] if self.augment is None else self.augment.draw(width, height)
        crop = self.crop.draw(height, width)
        clip = crop.apply(augmented(frames, steps, crop.needed_part()))
        if self.hflip > 0 and np.random.uniform() < self.hflip:
            clip = clip.flip(-1)
        # after the crop, since it has fewer values; as resizing is linear, the result is the same
        clip = self.normalise(clip)
        if self.erasing is not None:
            self.erasing(clip.flatten(0, 1))  # for timm all frames are channels of one image
        return clip


def clip_test_transform(
    size: Sequence[int],
    *,
    crops: int = 1,
    short_side: int | None = None,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
) -> Transform:
    """Build the test transform: resize frames, then cut out one or three crops.

    From frames uint8 (T, H, W, 3) to float (crops, 3, T, height, width).

    Args:
        size: (frames, height, width) of a crop; the number of frames is not changed.
        crops: 1: the centre. 3: left, centre and right; top, centre and bottom in tall frames.
        short_side: shorter side of the resized frames, in pixels. None: as in the released code,
            256 / 224 of the crop's shorter side for one crop, the crop's shorter side for three.
            (The paper has 256 for crops of 224 in both cases.)
        mean: per RGB channel, for values in 0..1.
        std: per RGB channel, for values in 0..1.

    Raises:
        UserError: ``crops`` is not 1 or 3, or the crop is larger than ``short_side``.
    """
    sides = height_and_width(size)
    check_choice("clip_test_transform", (1, 3), crops=crops)
    if short_side is None:
        short_side = released_short_side(sides) if crops == 1 else min(sides)
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
        height, width = frames.shape[1:3]
        size = resized_size(height, width, self.short_side, self.size)
        boxes = uniform_crops(size, self.size, self.crops)
        if len(boxes) == 1:
            return self.normalise(resize_and_crop(frames, size, boxes[0])[None])
        clip = resize_and_crop(frames, size, whole_frame(*size))
        crops = [clip[..., top:bottom, left:right] for left, top, right, bottom in boxes]
        return self.normalise(torch.stack(crops))


class Normalise:
    """Normalises float clips (..., 3, T, H, W) with values 0..255, in place.

    Args:
        mean: per RGB channel, for values in 0..1.
        std: per RGB channel, for values in 0..1, above 0.

    Raises:
        UserError: there are not three values each, or one of ``std`` is not above 0.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UserError(
                f"mean={list(mean)} and std={list(std)} of a clip's transform must each have "
                "three numbers, for RGB values in 0..1, and std must be above 0."
            )
        self.mean = [255 * value for value in mean]
        self.std = [255 * value for value in std]

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        """Normalise ``clips``, float (..., 3, T, H, W) in 0..255, in place, and return them."""
        images = clips.flatten(-3, -2)  # a view (..., 3, T * H, W), since torchvision takes images
        normalize(images, self.mean, self.std, inplace=True)
        return clips


def height_and_width(size: Sequence[int]) -> Size:
    """Return (height, width) of a clip's size (frames, height, width), in pixels.

    Raises:
        UserError: the size is not three positive integers.
    """
    _, height, width = check_size("a clip's transform", "frames,height,width", size)
    return height, width


def released_short_side(crop: Size) -> int:
    """Return the shorter side of frames in the released configs, of which ``crop`` is cut.

    It is 256 for crops of 224, and 356 for 312. That of 352 was not released.
    """
    return min(crop) * 256 // 224


def check_short_side(transform: str, short_side: int, crop: Size) -> None:
    """Check the shorter side of resized frames, in pixels.

    Args:
        transform: name of the transform, for the message.
        short_side: shorter side of the resized frames.
        crop: (height, width) of the crop.

    Raises:
        UserError: ``short_side`` is not an integer, or is below the shorter side of ``crop``.
    """
    check_number(
        transform,
        f"a whole number that is not below the shorter side of the crop, {min(crop)}",
        lambda side: isinstance(side, int) and side >= min(crop),
        short_side=short_side,
    )
