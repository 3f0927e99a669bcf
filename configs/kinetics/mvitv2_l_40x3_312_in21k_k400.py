from ..common.data.kinetics import use_views
from .mvitv2_l_40x3_in21k_k400 import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.input_size = (40, 312, 312)
model.max_views = 1
dataloader.test.batch_size = 1
use_views(dataloader, clips=5, crops=3)
train.output_dir = "output/mvitv2_l_40x3_312_in21k_k400"

# The paper's parameters are those with model.backbone.expand_in=mlp, its FLOPs are of this model.
published = dict(
    table="10", top1=86.1, top5=97.0, parameters=217.6, flops=2828, weights="mvitv2_l_40x3_k400"
)
