"""COCO with large-scale jitter (Ghiasi et al., CVPR 2021), as the released L and H were trained."""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L

from .coco import dataloader, masks

image_size = 1024

dataloader.train.mapper.augmentations = [
    L(T.RandomFlip)(horizontal=True),
    L(T.ResizeScale)(
        min_scale=0.1, max_scale=2.0, target_height=image_size, target_width=image_size
    ),
    # The padding must be background in masks, too. Detectron2's default there, 255, is meant for
    # semantic segmentation: it would make the padding part of every object whose mask is a bitmap
    # (RLE, or instance_mask_format="bitmask"). Polygons are not padded.
    L(T.FixedSizeCrop)(crop_size=(image_size, image_size), pad_value=128, seg_pad_value=0),
]
# A cropped object gets the box of its visible part, if it has a mask.
dataloader.train.mapper.recompute_boxes = masks
