from ...common.data.kinetics import use_views
from ...kinetics.mvitv2_l_40x3_312_in21k_k400 import (
    dataloader,
    lr_multiplier,
    model,
    optimizer,
    task,
    train,
)

model.backbone.expand_in = "mlp"  # as at 224 pixels; the paper's FLOPs are those of "attention"
use_views(dataloader, clips=10, crops=1)
train.init_checkpoint = "output/table14_l_16x4_scratch/model_final.pth"
train.output_dir = "output/table14_l_40x3_312_scratch"

published = dict(table="14", top1=81.8, parameters=217.6, flops=2828)
