from ..common.models.classifier import mvitv2
from .mvitv2_s_in21k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone = mvitv2("B", drop_path_rate=0.3, class_token=True)
train.output_dir = "output/mvitv2_b_in21k"

published = dict(weights="mvitv2_b_in21k")
