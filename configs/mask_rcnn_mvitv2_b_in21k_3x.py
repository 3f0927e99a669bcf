from .mask_rcnn_mvitv2_b_3x import dataloader, lr_multiplier, model, optimizer, train

train.init_checkpoint = "detectron2://ImageNetPretrained/mvitv2/MViTv2_B_in21k.pyth"

published = dict(table="A.5", box_ap=51.5, mask_ap=46.4, parameters=71, flops=392)
