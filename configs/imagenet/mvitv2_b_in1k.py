from ..common.models.classifier import mvitv2
from .mvitv2_t_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone = mvitv2("B", drop_path_rate=0.3)
train.output_dir = "output/mvitv2_b_in1k"

published = dict(table="2", top1=84.4, parameters=52, flops=10.2, weights="mvitv2_b_in1k")
