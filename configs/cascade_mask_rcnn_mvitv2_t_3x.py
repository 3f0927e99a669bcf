from .common.models.cascade_mask_rcnn import cascade
from .mask_rcnn_mvitv2_t_3x import dataloader, lr_multiplier, model, optimizer, task, train

cascade(model)

published = dict(
    table="5",
    box_ap=52.2,
    mask_ap=45.0,
    parameters=76,
    flops=701,
    weights="cascade_mask_rcnn_mvitv2_t_3x",
)
