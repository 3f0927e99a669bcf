from ..common.models.classifier import mvitv2
from .mvitv2_t_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone = mvitv2("S", drop_path_rate=0.1)
train.output_dir = "output/mvitv2_s_in1k"

published = dict(table="2", top1=83.6, parameters=35, flops=7.0, weights="mvitv2_s_in1k")
