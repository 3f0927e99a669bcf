"""Augmentation and test transforms of ImageNet classification, put together by timm.

They take an RGB picture of Pillow and give a normalised float tensor (3, H, W).
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
    """Crop, flip, RandAugment, normalise, erase: the released recipe (paper, appendix B.2).

    Args:
        size: height and width of the result in pixels.
        scale, ratio: of the crop: its share of the area, and width over height.
        auto_augment: timm's description of the policy: "rand-m9-n6-mstd0.5-inc1" is RandAugment
            with 6 operations of magnitude 9, its spread 0.5, from the 15 that grow with it. Moved
            pictures, by at most 0.45 of their side, are filled with ``mean``.
        color_jitter: only without ``auto_augment``.
        erase_prob, erase_mode, erase_count: random erasing; "pixel" fills with normal noise.
        mean, std: of RGB values in 0..1.
    """
    if not (0 < min(scale) and max(scale) <= 1 and 0 < min(ratio) and 0 <= erase_prob <= 1):
        raise UserError(
            f"scale={tuple(scale)} and erase_prob={erase_prob} of train_transform must be within 0 "
            f"and 1, ratio={tuple(ratio)} above 0."
        )
    transform = _created(
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
    """The two test protocols of the released code.

    Args:
        size: height and width of the result in pixels.
        protocol: "center": resized, keeping its shape, until it covers ``size / crop_ratio``
            (short side 256 for 224), of which the centre is cut out. "resize": straight to ``size``.
        mean, std: of RGB values in 0..1.
    """
    modes = {"center": ("center", crop_ratio), "resize": ("squash", 1.0)}
    check_choice("test_transform", modes, protocol=protocol)
    within = "above 0 and at most 1"
    check_number("test_transform", within, lambda share: 0 < share <= 1, crop_ratio=crop_ratio)
    mode, share = modes[protocol]
    return _created(
        size,
        crop_mode=mode,
        crop_pct=share,
        interpolation=interpolation,
        mean=tuple(mean),
        std=tuple(std),
    )


# A function of this name in a test module is no test.
test_transform.__test__ = False


def _created(size: Sequence[int], **options: Any) -> Compose:
    """timm's transform; what it cannot make one of ends in a sentence."""
    size = check_size("a transform", "height,width", size)
    try:
        return create_transform(size, **options)
    except Exception as error:  # timm checks little, and fails in many ways
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise UserError(
            f"No transform can be made of {given} ({type(error).__name__}: {error}): correct what is "
            "not one of timm's values."
        ) from error
