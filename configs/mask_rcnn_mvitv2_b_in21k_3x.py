from .mask_rcnn_mvitv2_b_3x import dataloader, lr_multiplier, model, optimizer, task, train

train.init_checkpoint = "mvitv2_b_in21k"

published = dict(table="A.5", box_ap=51.5, mask_ap=46.4, parameters=71, flops=392)
