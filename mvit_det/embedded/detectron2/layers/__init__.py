"""Building blocks of detectors: convolutions with norms, RoIAlign, NMS, mask pasting."""

from .batch_norm import FrozenBatchNorm2d, NaiveSyncBatchNorm, get_norm
from .mask_ops import paste_masks_in_image
from .nms import batched_nms
from .roi_align import ROIAlign
from .shape_spec import ShapeSpec
from .wrappers import Conv2d, ConvTranspose2d, Linear, cat, cross_entropy, nonzero_tuple

__all__ = [
    "Conv2d",
    "ConvTranspose2d",
    "FrozenBatchNorm2d",
    "Linear",
    "NaiveSyncBatchNorm",
    "ROIAlign",
    "ShapeSpec",
    "batched_nms",
    "cat",
    "cross_entropy",
    "get_norm",
    "nonzero_tuple",
    "paste_masks_in_image",
]
