from .mvitv2_l_40x3_312_in21k_k600 import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.input_size = (40, 352, 352)
train.output_dir = "output/mvitv2_l_40x3_352_in21k_k600"

published = dict(table="11", top1=87.9, parameters=217.6, flops=3790)
