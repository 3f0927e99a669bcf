from ...kinetics.mvitv2_l_40x3_in21k_k400 import (
    dataloader,
    lr_multiplier,
    model,
    optimizer,
    task,
    train,
)

model.backbone.expand_in = "mlp"  # the paper's parameters and FLOPs
train.init_checkpoint = "output/table14_l_16x4_scratch/model_final.pth"
train.output_dir = "output/table14_l_40x3_scratch"

published = dict(table="14", top1=81.4, parameters=217.6, flops=1127)
