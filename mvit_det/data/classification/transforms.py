"""Augmentation and test transforms of ImageNet classification, built by timm.

They take an RGB picture of Pillow and return a normalised float tensor (3, H, W).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from torchvision.transforms import Compose

from mvit_det.data.rand_augment import keep_black_pictures
from mvit_det.errors import UserError, check_choice, check_number, check_size

Transform = Callable[[Image.Image], torch.Tensor]


def train_transform(
    size: Sequence[int],
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    hflip: float = 0.5,
    auto_augment: str | None = "rand-m9-n6-mstd0.5-inc1",
    color_jitter: float = 0.4,
    interpolation: str = "bicubic",
    erase_prob: float = 0.25,
    erase_mode: str = "pixel",
    erase_count: int = 1,
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: Sequence[float] = IMAGENET_DEFAULT_STD,
) -> Transform:
    """Build the released augmentation: crop, flip, RandAugment, normalise, erase.

    Source: paper, appendix B.2; timm, ``timm/data/transforms_factory.py``.

    Args:
        size: (height, width) of the result in pixels.
        scale: smallest and largest share (0..1) of the picture's area that a crop has.
        ratio: smallest and largest width / height of a crop.
        hflip: probability (0..1) of a horizontal flip.
        auto_augment: timm's description of the policy: "rand-m9-n6-mstd0.5-inc1" is RandAugment
            with 6 operations of magnitude 9 (standard deviation 0.5), from the 15 whose strength
            increases with the magnitude. Pictures are moved by at most 0.45 of their side and
            filled with ``mean``. None: off.
        color_jitter: strength of colour jitter, used only without ``auto_augment``.
        interpolation: "bicubic", "bilinear", "nearest" or "random".
        erase_prob: probability (0..1) of random erasing.
        erase_mode: "pixel" fills with normal noise; "rand" and "const" as in timm.
        erase_count: largest number of erased boxes.
        mean: per RGB channel, for values in 0..1.
        std: per RGB channel, for values in 0..1.

    Returns:
        A function from an RGB picture of Pillow to a normalised float32 tensor (3, H, W).

    Raises:
        UserError: a value is out of its range, or is not one of timm's.
    """
    if not (0 < min(scale) and max(scale) <= 1 and 0 < min(ratio) and 0 <= erase_prob <= 1):
        raise UserError(
            f"scale={tuple(scale)} and erase_prob={erase_prob} of train_transform must be from 0 "
            f"to 1, and ratio={tuple(ratio)} above 0."
        )
    transform = _create(
        size,
        is_training=True,
        scale=tuple(scale),
        ratio=tuple(ratio),
        hflip=hflip,
        auto_augment=auto_augment,
        color_jitter=color_jitter,
        interpolation=interpolation,
        re_prob=erase_prob,
        re_mode=erase_mode,
        re_count=erase_count,
        mean=tuple(mean),
        std=tuple(std),
    )
    for step in transform.transforms:
        keep_black_pictures(getattr(step, "ops", ()))
    return transform


def test_transform(
    size: Sequence[int],
    *,
    protocol: str = "center",
    crop_ratio: float = 0.875,
    interpolation: str = "bicubic",
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: Sequence[float] = IMAGENET_DEFAULT_STD,
) -> Transform:
    """Build one of the two test transforms of the released code.

    Args:
        size: (height, width) of the result in pixels.
        protocol: "center": resize to cover ``size / crop_ratio`` with the aspect ratio kept (short
            side 256 for 224), then cut out the centre. "resize": resize to ``size`` directly.
        crop_ratio: share (0..1] of the resized picture's side that the crop has; "center" only.
        interpolation: "bicubic", "bilinear" or "nearest".
        mean: per RGB channel, for values in 0..1.
        std: per RGB channel, for values in 0..1.

    Returns:
        A function from an RGB picture of Pillow to a normalised float32 tensor (3, H, W).

    Raises:
        UserError: ``protocol`` is unknown, or another value is out of its range.
    """
    modes = {"center": ("center", crop_ratio), "resize": ("squash", 1.0)}
    check_choice("test_transform", modes, protocol=protocol)
    allowed = "above 0 and at most 1"
    check_number("test_transform", allowed, lambda share: 0 < share <= 1, crop_ratio=crop_ratio)
    mode, share = modes[protocol]
    return _create(
        size,
        crop_mode=mode,
        crop_pct=share,
        interpolation=interpolation,
        mean=tuple(mean),
        std=tuple(std),
    )


# pytest would collect an imported function of this name as a test.
test_transform.__test__ = False  # type: ignore[attr-defined]  # an attribute of a function


def _create(size: Sequence[int], **options: Any) -> Compose:
    """Call timm's `create_transform`; raise `UserError` if it does not accept the options."""
    height, width = check_size("a transform", "height,width", size)
    try:
        return create_transform((height, width), **options)
    except Exception as error:  # timm checks little, and fails in many ways
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise UserError(
            f"No transform can be made of {given} ({type(error).__name__}: {error}): use values "
            "that timm accepts."
        ) from error
