from .common.models.cascade_mask_rcnn import cascade
from .mask_rcnn_mvitv2_s_3x import dataloader, lr_multiplier, model, optimizer, task, train

cascade(model)

published = dict(
    table="5",
    box_ap=53.2,
    mask_ap=46.0,
    parameters=87,
    flops=748,
    weights="cascade_mask_rcnn_mvitv2_s_3x",
)
