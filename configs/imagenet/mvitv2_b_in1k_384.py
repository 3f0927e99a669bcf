from .mvitv2_b_in1k import model, task
from .mvitv2_t_in1k_384 import dataloader, lr_multiplier, optimizer, train

model.backbone.input_size = (384, 384)
train.init_checkpoint = "mvitv2_b_in1k"
train.output_dir = "output/mvitv2_b_in1k_384"

published = dict(table="2", top1=85.2, top1_resize=85.6, parameters=52, flops=36.7)
