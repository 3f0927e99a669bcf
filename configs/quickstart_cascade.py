"""The quickstart with Cascade Mask R-CNN: same data, backbone and schedule, three box heads."""

from .common.models.cascade_mask_rcnn import cascade
from .quickstart import dataloader, lr_multiplier, model, optimizer, task, train

cascade(model, conv_dims=[32], fc_dims=[256])
train.output_dir = "output/quickstart_cascade"
