from .common.models.cascade_mask_rcnn import cascade
from .mask_rcnn_mvitv2_l_3x import dataloader, lr_multiplier, model, optimizer, task, train

cascade(model)

published = dict(table="5", box_ap=54.3, mask_ap=47.1, parameters=270, flops=1519)
