from ..common.models.classifier import mvitv2
from .mvitv2_l_in21k_to_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone = mvitv2("H", drop_path_rate=0.8, class_token=True, use_act_checkpoint=True)
train.init_checkpoint = "mvitv2_h_in21k"
train.output_dir = "output/mvitv2_h_in21k_to_in1k"

published = dict(table="3", top1=88.0, parameters=667, flops=120.6)
