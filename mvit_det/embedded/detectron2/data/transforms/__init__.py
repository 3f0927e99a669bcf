"""Geometric changes of an image with its boxes, masks and points.

A transform is one fixed change; its classes are fvcore's, beside our `ResizeTransform`. An
augmentation looks at the image, draws random numbers and gives a transform.
"""

from fvcore.transforms.transform import CropTransform, HFlipTransform, NoOpTransform, PadTransform
from fvcore.transforms.transform import Transform, TransformList, VFlipTransform

from .augmentation import Augmentation, AugmentationList, AugInput
from .augmentation_impl import (
    FixedSizeCrop,
    RandomApply,
    RandomCrop,
    RandomFlip,
    Resize,
    ResizeScale,
    ResizeShortestEdge,
)
from .transform import ResizeTransform
