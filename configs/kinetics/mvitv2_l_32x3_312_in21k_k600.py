from .mvitv2_l_40x3_312_in21k_k600 import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.input_size = (32, 312, 312)
train.output_dir = "output/mvitv2_l_32x3_312_in21k_k600"

published = dict(table="11", top1=87.2, parameters=217.6, flops=2063)
