"""Random changes of an image with its boxes, masks and points.

A transform is one fixed change; most of its classes come from fvcore. An augmentation chooses a
transform at random, depending on the image.
"""

# The sorter would put each name on a separate line.
# isort: off
from fvcore.transforms.transform import *  # noqa: F403  Detectron2 re-exports all of them too
from fvcore.transforms.transform import Transform

from .augmentation import Augmentation, AugmentationList, AugInput
from .augmentation_impl import FixedSizeCrop, RandomApply, RandomBrightness
from .augmentation_impl import RandomContrast, RandomCrop, RandomExtent, RandomFlip, RandomLighting
from .augmentation_impl import RandomResize, RandomRotation, RandomSaturation, Resize, ResizeScale
from .augmentation_impl import ResizeShortestEdge
from .transform import ColorTransform, ExtentTransform, PILColorTransform, ResizeTransform
from .transform import RotationTransform
