from .common.models.cascade_mask_rcnn import cascade
from .mask_rcnn_mvitv2_b_in21k_3x import dataloader, lr_multiplier, model, optimizer, task, train

cascade(model)

published = dict(
    table="5",
    box_ap=54.9,
    mask_ap=47.4,
    parameters=103,
    flops=814,
    weights="cascade_mask_rcnn_mvitv2_b_in21k_3x",
)
