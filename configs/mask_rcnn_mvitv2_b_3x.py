from .common.models.mask_rcnn import mvitv2
from .mask_rcnn_mvitv2_t_3x import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.bottom_up = mvitv2("B", drop_path_rate=0.4)
train.init_checkpoint = "mvitv2_b_in1k"

published = dict(table="5", box_ap=51.0, mask_ap=45.7, parameters=71, flops=392)
