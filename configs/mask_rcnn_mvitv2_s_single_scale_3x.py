"""No feature pyramid: RPN and heads work on the last block's output (paper, Table 9)."""

from .common.models.mask_rcnn import single_scale
from .mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

single_scale(model, channels=768, stride=32)  # the 276 GFLOPs of the paper confirm the widths

published = dict(table="9", box_ap=47.0, flops=276)
