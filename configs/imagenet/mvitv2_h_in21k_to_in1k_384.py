from .mvitv2_h_in21k_to_in1k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone.input_size = (384, 384)
train.output_dir = "output/mvitv2_h_in21k_to_in1k_384"

published = dict(table="3", top1=88.3, top1_resize=88.6, parameters=667, flops=388.5)
