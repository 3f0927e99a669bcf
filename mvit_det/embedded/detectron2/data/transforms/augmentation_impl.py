"""The augmentations that the detection recipes use. Sizes are (height, width) in pixels."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms import transform as tf
from PIL import Image

from .augmentation import AugInput, Augmentation, as_augmentation
from .transform import ResizeTransform

_BILINEAR = int(Image.Resampling.BILINEAR)


class RandomApply(Augmentation):
    """Apply an augmentation with probability ``prob``, else change nothing."""

    def __init__(self, tfm_or_aug: Augmentation | tf.Transform, prob: float = 0.5):
        assert 0.0 <= prob <= 1.0, f"prob={prob} is no probability: it must lie within 0..1."
        self.aug, self.prob = as_augmentation(tfm_or_aug), prob

    def __call__(self, aug_input: AugInput) -> tf.Transform:
        return self.aug(aug_input) if self._rand_range() < self.prob else tf.NoOpTransform()

    def __repr__(self) -> str:
        return f"RandomApply({self.aug!r}, prob={self.prob})"


class RandomFlip(Augmentation):
    """Mirror the image left-right or (``vertical``) upside down with probability ``prob``."""

    def __init__(self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False):
        if bool(horizontal) == bool(vertical):
            raise ValueError(
                f"RandomFlip got horizontal={horizontal} and vertical={vertical}: exactly one must "
                "be set; chain two RandomFlip for both."
            )
        self._init(dict(prob=prob, horizontal=horizontal, vertical=vertical))

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        height, width = image.shape[:2]
        if self._rand_range() >= self.prob:
            return tf.NoOpTransform()
        return tf.HFlipTransform(width) if self.horizontal else tf.VFlipTransform(height)


class Resize(Augmentation):
    """Resize to a fixed (height, width), or to a square for one number."""

    def __init__(self, shape: int | Sequence[int], interp: int = _BILINEAR):
        self.shape = (shape, shape) if isinstance(shape, int) else tuple(shape)
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        return ResizeTransform(*image.shape[:2], *self.shape, self.interp)


class ResizeShortestEdge(Augmentation):
    """Resize so that the short side gets a chosen length, keeping the aspect ratio.

    Args:
        short_edge_length: a list to choose from (``sample_style="choice"``), or the ends of a range
            of whole numbers, both included ("range"); one number is a fixed length. A length of 0
            leaves the image as it is.
        max_size: the long side stays at most this long, at the cost of the short side.
    """

    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
        interp: int = _BILINEAR,
    ):
        assert sample_style in ("range", "choice"), f"sample_style={sample_style!r} is unknown."
        single = isinstance(short_edge_length, int)
        lengths = (short_edge_length, short_edge_length) if single else tuple(short_edge_length)
        assert (
            sample_style == "choice" or len(lengths) == 2
        ), f"A range of the short side has two ends, not {lengths}."
        self._init(dict(max_size=max_size, sample_style=sample_style, interp=interp))
        self.short_edge_length = lengths

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        if self.sample_style == "choice":
            length = np.random.choice(self.short_edge_length)
        else:
            low, high = self.short_edge_length
            length = np.random.randint(low, high + 1)
        if length == 0:
            return tf.NoOpTransform()
        size = image.shape[:2]
        new_size = self.get_output_shape(*size, int(length), self.max_size)
        return ResizeTransform(*size, *new_size, self.interp)

    @staticmethod
    def get_output_shape(
        oldh: int, oldw: int, short_edge_length: int, max_size: int
    ) -> tuple[int, int]:
        """The (height, width) after resizing, rounded half up."""
        scale = short_edge_length / min(oldh, oldw)
        # The short side is exact: scaling it by a rounded quotient could miss it.
        sides = [short_edge_length if s == min(oldh, oldw) else scale * s for s in (oldh, oldw)]
        shrink = min(1.0, max_size / max(sides))
        return tuple(int(side * shrink + 0.5) for side in sides)


class ResizeScale(Augmentation):
    """Resize to fit within a target box that is itself scaled at random; keeps the aspect ratio.

    With `FixedSizeCrop` of the same target size it makes large-scale jitter (Ghiasi et al., 2021).
    """

    def __init__(
        self,
        min_scale: float,
        max_scale: float,
        target_height: int,
        target_width: int,
        interp: int = _BILINEAR,
    ):
        self._init(dict(min_scale=min_scale, max_scale=max_scale, interp=interp))
        self.target_height, self.target_width = target_height, target_width

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        size = np.array(image.shape[:2])
        factor = np.random.uniform(self.min_scale, self.max_scale)
        box = factor * np.array([self.target_height, self.target_width])
        new_size = np.round(size * (box / size).min()).astype(int)
        return ResizeTransform(*image.shape[:2], *new_size.tolist(), self.interp)


class RandomCrop(Augmentation):
    """Crop a rectangle at a random place.

    Args:
        crop_type: how ``crop_size`` gives the rectangle's size:
            "relative": the share (0..1] of the height, and of the width;
            "relative_range": shares drawn uniformly from these up to 1;
            "absolute": pixels;
            "absolute_range": height and width each drawn from crop_size[0]..crop_size[1] pixels.
            A rectangle in pixels never exceeds the image.
    """

    def __init__(self, crop_type: str, crop_size: float | Sequence[float]):
        known = ("relative_range", "relative", "absolute", "absolute_range")
        assert crop_type in known, f"crop_type={crop_type!r} is unknown: use one of {known}."
        self._init(dict(crop_type=crop_type, crop_size=crop_size))

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        height, width = image.shape[:2]
        crop_height, crop_width = self.get_crop_size((height, width))
        assert (
            crop_height <= height and crop_width <= width
        ), f"{self} is larger than the image of height {height} and width {width}."
        top = np.random.randint(height - crop_height + 1)
        left = np.random.randint(width - crop_width + 1)
        return tf.CropTransform(left, top, crop_width, crop_height)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Draw the rectangle's (height, width) for an image of that size."""
        if self.crop_type == "absolute":
            return tuple(map(min, self.crop_size, image_size))
        if self.crop_type == "absolute_range":
            low, high = self.crop_size
            assert low <= high, f"{self}: the smallest size exceeds the largest one."
            ends = [(min(side, low), min(side, high)) for side in image_size]
            return tuple(np.random.randint(a, b + 1) for a, b in ends)
        share: Any = self.crop_size
        if self.crop_type == "relative_range":
            # Single precision, as Detectron2 rounds: it decides the size at ties.
            share = np.asarray(share, dtype=np.float32)
            share = share + np.random.rand(2) * (1 - share)
        return tuple(int(side * part + 0.5) for side, part in zip(image_size, share))


class FixedSizeCrop(Augmentation):
    """Crop at random what exceeds ``crop_size``, and pad right and below what falls short of it.

    Args:
        pad: without it a small image stays small.
        pad_value: of the image; ``seg_pad_value`` is that of a label map.
    """

    def __init__(
        self,
        crop_size: Sequence[int],
        pad: bool = True,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ):
        self._init(dict(crop_size=tuple(crop_size), pad=pad, pad_value=pad_value))
        self.seg_pad_value = seg_pad_value

    def get_transform(self, image: np.ndarray) -> tf.TransformList:
        size = np.array(image.shape[:2])
        target = np.array(self.crop_size)
        # One number moves both axes: the window slides along the diagonal of the free range.
        top, left = np.round(np.maximum(size - target, 0) * np.random.uniform(0.0, 1.0)).astype(int)
        crop = tf.CropTransform(left, top, *target[::-1].tolist(), *size[::-1].tolist())
        if not self.pad:
            return tf.TransformList([crop])
        height, width = np.minimum(size, target).tolist()
        below, right = np.maximum(target - size, 0).tolist()
        values = self.pad_value, self.seg_pad_value
        return tf.TransformList([crop, tf.PadTransform(0, 0, right, below, width, height, *values)])
