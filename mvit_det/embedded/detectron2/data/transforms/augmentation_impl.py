"""The augmentations that the detection recipes use. Sizes are (height, width) in pixels."""

import sys
from collections.abc import Sequence

import numpy as np
from fvcore.transforms import transform as tf

from .augmentation import AugInput, Augmentation, apply
from .transform import ResizeTransform


class RandomApply(Augmentation):
    """Apply an augmentation with probability ``prob``, else change nothing."""

    def __init__(self, tfm_or_aug: Augmentation | tf.Transform, prob: float = 0.5):
        assert 0.0 <= prob <= 1.0, f"prob={prob} is no probability: it must lie within 0..1."
        self._init(dict(tfm_or_aug=tfm_or_aug, prob=prob))

    def __call__(self, aug_input: AugInput) -> tf.Transform:
        chosen = np.random.uniform() < self.prob
        return apply(self.tfm_or_aug, aug_input) if chosen else tf.NoOpTransform()


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
        if np.random.uniform() >= self.prob:
            return tf.NoOpTransform()
        return tf.HFlipTransform(width) if self.horizontal else tf.VFlipTransform(height)


class Resize(Augmentation):
    """Resize to a fixed (height, width), or to a square for one number."""

    def __init__(self, shape: int | Sequence[int]):
        self.shape = (shape, shape) if isinstance(shape, int) else tuple(shape)

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        return ResizeTransform(*image.shape[:2], *self.shape)


class ResizeShortestEdge(Augmentation):
    """Resize so that the short side gets a chosen length, keeping the aspect ratio.

    Args:
        short_edge_length: a list to choose from (``sample_style="choice"``), or the ends of a range
            of whole numbers, both included ("range"); one number is a fixed length.
        max_size: the long side stays at most this long, at the cost of the short side.
    """

    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
    ):
        assert sample_style in ("range", "choice"), f"sample_style={sample_style!r} is unknown."
        single = isinstance(short_edge_length, int)
        lengths = (short_edge_length, short_edge_length) if single else tuple(short_edge_length)
        two_ends = sample_style == "choice" or len(lengths) == 2
        assert two_ends, f"A range of the short side has two ends, not {lengths}."
        self._init(dict(short_edge_length=lengths, max_size=max_size, sample_style=sample_style))

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        if self.sample_style == "choice":
            length = np.random.choice(self.short_edge_length)
        else:
            low, high = self.short_edge_length
            length = np.random.randint(low, high + 1)
        size = image.shape[:2]
        return ResizeTransform(*size, *self.get_output_shape(*size, int(length), self.max_size))

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

    def __init__(self, min_scale: float, max_scale: float, target_height: int, target_width: int):
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        size = np.array(image.shape[:2])
        factor = np.random.uniform(self.min_scale, self.max_scale)
        box = factor * np.array([self.target_height, self.target_width])
        new_size = np.round(size * (box / size).min()).astype(int)
        return ResizeTransform(*image.shape[:2], *new_size.tolist())


class RandomCrop(Augmentation):
    """Crop a rectangle, which never exceeds the image, at a random place.

    With ``crop_type`` "absolute", ``crop_size`` is its (height, width); with "absolute_range",
    height and width are each drawn from crop_size[0]..crop_size[1].
    """

    def __init__(self, crop_type: str, crop_size: Sequence[int]):
        known = ("absolute", "absolute_range")
        assert crop_type in known, f"crop_type={crop_type!r} is unknown: use one of {known}."
        self._init(dict(crop_type=crop_type, crop_size=crop_size))

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        height, width = image.shape[:2]
        crop_height, crop_width = self.get_crop_size((height, width))
        top = np.random.randint(height - crop_height + 1)
        left = np.random.randint(width - crop_width + 1)
        return tf.CropTransform(left, top, crop_width, crop_height)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Draw the rectangle's (height, width) for an image of that size."""
        if self.crop_type == "absolute":
            return tuple(map(min, self.crop_size, image_size))
        low, high = self.crop_size
        assert low <= high, f"{self}: the smallest size exceeds the largest one."
        ends = [(min(side, low), min(side, high)) for side in image_size]
        return tuple(np.random.randint(a, b + 1) for a, b in ends)


class FixedSizeCrop(Augmentation):
    """Crop at random what exceeds ``crop_size``, and pad right and below what falls short of it.

    ``pad_value`` fills the image, ``seg_pad_value`` its masks. Without ``pad`` a small image stays
    small.
    """

    def __init__(
        self,
        crop_size: tuple[int, int],
        pad: bool = True,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ):
        self.crop_size, self.pad = tuple(crop_size), pad
        self.pad_value, self.seg_pad_value = pad_value, seg_pad_value

    def get_transform(self, image: np.ndarray) -> tf.TransformList:
        size, target = np.array(image.shape[:2]), np.array(self.crop_size)
        # One number moves both axes: the window slides along the diagonal of the free range.
        top, left = np.round(np.maximum(size - target, 0) * np.random.uniform(0.0, 1.0)).astype(int)
        crop = tf.CropTransform(left, top, *target[::-1].tolist(), *size[::-1].tolist())
        if not self.pad:
            return tf.TransformList([crop])
        height, width = np.minimum(size, target).tolist()
        below, right = np.maximum(target - size, 0).tolist()
        values = self.pad_value, self.seg_pad_value
        return tf.TransformList([crop, tf.PadTransform(0, 0, right, below, width, height, *values)])
