from .mask_rcnn_mvitv2_l_3x import dataloader, lr_multiplier, model, optimizer, task, train

# As in the released ImageNet-21K weights; "mlp" gives the paper's parameters and FLOPs.
model.backbone.bottom_up.expand_in = "attention"
train.init_checkpoint = "mvitv2_l_in21k"

published = dict(table="5", box_ap=52.7, mask_ap=46.8, parameters=238, flops=1097)
