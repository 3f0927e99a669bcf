from ..common.models.classifier import mvitv2
from .mvitv2_l_in1k import dataloader, lr_multiplier, model, optimizer, task, train

# Recomputing activations is our choice, for memory; it changes no number.
model.backbone = mvitv2("H", drop_path_rate=0.8, use_act_checkpoint=True)
train.output_dir = "output/mvitv2_h_in1k"

# The FLOPs are those with a class token. No accuracy without ImageNet-21K was reported.
published = dict(table="1", parameters=667, flops=120.6)
