"""Building blocks of detectors: convolutions with norms, NMS, mask pasting."""

from .batch_norm import NaiveSyncBatchNorm, get_norm
from .mask_ops import paste_masks_in_image
from .wrappers import Conv2d, ROIAlign, ShapeSpec, batched_nms
