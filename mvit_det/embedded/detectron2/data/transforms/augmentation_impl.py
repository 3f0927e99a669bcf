"""The augmentations of Detectron2.

Images are (H, W[, C]), bytes 0..255 or floats, sizes (height, width) in pixels; ``interp`` is a
resampling filter of Pillow, bilinear by default. A constructor raises AssertionError or ValueError
for arguments out of range.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms import transform as tf

from .augmentation import AugInput, Augmentation, apply
from .transform import BILINEAR, ExtentTransform, ResizeTransform, RotationTransform


def _resize(image: np.ndarray, size: Sequence[int], interp: int) -> ResizeTransform:
    return ResizeTransform(image.shape[0], image.shape[1], size[0], size[1], interp)


class RandomApply(Augmentation):
    """Apply an augmentation with probability ``prob``, else change nothing."""

    def __init__(self, tfm_or_aug, prob=0.5):
        assert 0.0 <= prob <= 1.0, f"prob={prob} must lie within 0..1."
        self._init(locals())

    def __call__(self, aug_input: AugInput) -> tf.Transform:
        """Draw whether to apply it; return the applied transform."""
        if self._rand_range() >= self.prob:
            return tf.NoOpTransform()
        return apply(self.tfm_or_aug, aug_input)


class RandomFlip(Augmentation):
    """Mirror the image left-right or (``vertical``) upside down with probability ``prob``."""

    def __init__(self, prob=0.5, *, horizontal=True, vertical=False):
        if bool(horizontal) == bool(vertical):
            raise ValueError(f"Set one of {horizontal=} and {vertical=}; for both, chain two.")
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        """Draw whether to flip an image."""
        height, width = image.shape[:2]
        if self._rand_range() >= self.prob:
            return tf.NoOpTransform()
        return tf.HFlipTransform(width) if self.horizontal else tf.VFlipTransform(height)


class Resize(Augmentation):
    """Resize to a fixed (height, width), or to a square for one number."""

    def __init__(self, shape, interp=BILINEAR):
        shape = (shape, shape) if isinstance(shape, int) else tuple(shape)
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        """Return the resize of an image."""
        return _resize(image, self.shape, self.interp)


class RandomResize(Augmentation):
    """Resize to one of several (height, width), all equally probable."""

    def __init__(self, shape_list, interp=BILINEAR):
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        """Draw the new size of an image."""
        shape = self.shape_list[np.random.randint(len(self.shape_list))]
        return _resize(image, shape, self.interp)


class ResizeShortestEdge(Augmentation):
    """Resize the short side to a random length, and keep the aspect ratio.

    Args:
        short_edge_length: lengths to choose from (``sample_style="choice"``), or the ends of a
            range of integers, both included ("range"); one number is a fixed length, and 0 keeps
            the size of the image.
        max_size: the limit of the long side; a larger result is scaled down to it.
    """

    def __init__(
        self, short_edge_length, max_size=sys.maxsize, sample_style="range", interp=BILINEAR
    ):
        assert sample_style in ("range", "choice"), f"sample_style={sample_style!r} is unknown."
        single = isinstance(short_edge_length, int)
        short_edge_length = (short_edge_length,) * 2 if single else tuple(short_edge_length)
        is_valid = sample_style == "choice" or len(short_edge_length) == 2
        assert is_valid, f"A range of the short side has two ends, not {short_edge_length}."
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        """Draw the new length of the short side."""
        if self.sample_style == "choice":
            length = np.random.choice(self.short_edge_length)
        else:
            low, high = self.short_edge_length
            length = np.random.randint(low, high + 1)
        if length == 0:
            return tf.NoOpTransform()
        height, width = image.shape[:2]
        new_size = self.get_output_shape(height, width, int(length), self.max_size)
        return _resize(image, new_size, self.interp)

    @staticmethod
    def get_output_shape(oldh, oldw, short_edge_length, max_size):
        """Return the new (height, width), rounded half up."""
        scale = short_edge_length / min(oldh, oldw)
        # The short side is set, not scaled: a rounded quotient could change it.
        sides = [short_edge_length if s == min(oldh, oldw) else scale * s for s in (oldh, oldw)]
        shrink = min(1.0, max_size / max(sides))
        return tuple(int(side * shrink + 0.5) for side in sides)


class ResizeScale(Augmentation):
    """Resize to fit a target size times a random scale, and keep the aspect ratio.

    With `FixedSizeCrop` of the same target size this is large-scale jittering (Ghiasi et al.,
    Simple Copy-Paste, CVPR 2021, section 3).
    """

    def __init__(self, min_scale, max_scale, target_height, target_width, interp=BILINEAR):
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        """Draw the scale of the target size."""
        size = np.array(image.shape[:2])
        factor = np.random.uniform(self.min_scale, self.max_scale)
        box = factor * np.array([self.target_height, self.target_width])
        new_size = np.round(size * (box / size).min()).astype(int).tolist()
        return _resize(image, new_size, self.interp)


class RandomRotation(Augmentation):
    """Rotate counter-clockwise by a random angle in degrees.

    Args:
        angle: the ends of a range, or a list to choose from (``sample_style="choice"``); one number
            is fixed.
        expand: enlarge the result to the whole rotated image; otherwise it is cut to the old size.
        center: the centre as fractions of width and height: the near and the far corner of a
            rectangle, or a list of points to choose from; None: the middle of the image.
        interp: a flag of OpenCV; bilinear by default.
    """

    def __init__(self, angle, expand=True, center=None, sample_style="range", interp=None):
        assert sample_style in ("range", "choice"), f"sample_style={sample_style!r} is unknown."
        angle = (angle, angle) if isinstance(angle, (float, int)) else angle
        if center is not None and isinstance(center[0], (float, int)):
            center = (center, center)
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        """Draw the angle and the centre of a rotation."""
        (height, width), center = image.shape[:2], self.center
        if self.sample_style == "range":
            angle = np.random.uniform(*self.angle)
            if center is not None:
                center = [np.random.uniform(*ends) for ends in zip(*center)]
        else:
            angle = np.random.choice(self.angle)
            if center is not None:
                center = center[np.random.randint(len(center))]
        if angle % 360 == 0:
            return tf.NoOpTransform()
        center = None if center is None else (width * center[0], height * center[1])
        return RotationTransform(height, width, angle, self.expand, center, self.interp)


class RandomCrop(Augmentation):
    """Crop a rectangle at a random position inside the image.

    ``crop_size`` is the (height, width) of the rectangle in pixels ("absolute"), as fractions of
    the image ("relative"), or as the smallest fractions ("relative_range"). For "absolute_range"
    height and width are each drawn from crop_size[0]..crop_size[1].
    """

    def __init__(self, crop_type, crop_size):
        known = ("relative_range", "relative", "absolute", "absolute_range")
        assert crop_type in known, f"crop_type={crop_type!r} is unknown: use one of {known}."
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        """Draw the size and the position of a crop."""
        size = image.shape[:2]
        crop_height, crop_width = self.get_crop_size(size)
        top, left = (np.random.randint(a - b + 1) for a, b in zip(size, (crop_height, crop_width)))
        return tf.CropTransform(left, top, crop_width, crop_height)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        """Draw the (height, width) of the rectangle for an image of that size."""
        if self.crop_type == "absolute":
            return tuple(map(min, self.crop_size, image_size))
        if self.crop_type == "absolute_range":
            low, high = self.crop_size
            assert low <= high, f"{self}: the smallest size exceeds the largest one."
            return tuple(np.random.randint(min(n, low), min(n, high) + 1) for n in image_size)
        fractions = self.crop_size
        if self.crop_type == "relative_range":
            least = np.asarray(fractions, dtype=np.float32)
            fractions = least + np.random.rand(2) * (1 - least)
        return tuple(int(side * part + 0.5) for side, part in zip(image_size, fractions))


class FixedSizeCrop(Augmentation):
    """Crop an image to at most ``crop_size`` at random, and pad it on the right and the bottom.

    ``pad_value`` fills the image, ``seg_pad_value`` its masks. ``pad=False`` only crops.
    """

    def __init__(self, crop_size, pad=True, pad_value=128.0, seg_pad_value=255):
        crop_size = tuple(crop_size)
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> tf.TransformList:
        """Draw the position of a crop; return it with the padding."""
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


class RandomExtent(Augmentation):
    """Cut out a rectangle around the image's centre, scaled and shifted at random.

    Pixels outside of the image are black. The sides are those of the image times a number from
    ``scale_range``; the shift is up to half of ``shift_range``, fractions of both sides.
    """

    def __init__(self, scale_range, shift_range):
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        """Draw the scale and the shift of the rectangle."""
        size = np.array(image.shape[1::-1])
        half = 0.5 * size * np.random.uniform(*self.scale_range)
        shift = self.shift_range * size * (np.random.rand(2) - 0.5)
        near, far = -half + shift + 0.5 * size, half + shift + 0.5 * size
        width, height = (far - near).astype(int).tolist()
        return ExtentTransform((*near.tolist(), *far.tolist()), (height, width))


class RandomBrightness(Augmentation):
    """Blend the image with black; the weight of the image is ``intensity_min``..``intensity_max``.

    A weight of 1 changes nothing; larger weights brighten the image.
    """

    def __init__(self, intensity_min, intensity_max):
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        """Draw the weight of the image."""
        weight = np.random.uniform(self.intensity_min, self.intensity_max)
        return tf.BlendTransform(self._blend_source(image), 1 - weight, weight)

    def _blend_source(self, image: np.ndarray) -> Any:
        return 0


class RandomContrast(RandomBrightness):
    """Blend the image with the mean of all its values: a weight below 1 lowers the contrast."""

    def _blend_source(self, image: np.ndarray) -> Any:
        return image.mean()


class RandomSaturation(RandomBrightness):
    """Blend an RGB image with its gray version: a weight below 1 desaturates it."""

    def _blend_source(self, image: np.ndarray) -> Any:
        assert image.shape[-1] == 3, f"RandomSaturation needs RGB, not shape {image.shape}."
        return image.dot([0.299, 0.587, 0.114])[..., None]


class RandomLighting(Augmentation):
    """Shift the colour of an RGB image along the principal axes of ImageNet's colours.

    ``scale`` is the standard deviation of the weight of each axis (AlexNet, section 4.1).
    """

    def __init__(self, scale):
        self._init(locals())
        self.eigen_vecs = np.array(
            [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
        )
        self.eigen_vals = np.array([0.2175, 0.0188, 0.0045])

    def get_transform(self, image: np.ndarray) -> tf.Transform:
        """Draw the shift of an RGB image (H, W, 3)."""
        assert image.shape[-1] == 3, f"RandomLighting needs RGB, not shape {image.shape}."
        weights = np.random.normal(scale=self.scale, size=3)
        return tf.BlendTransform(self.eigen_vecs.dot(weights * self.eigen_vals), 1.0, 1.0)
