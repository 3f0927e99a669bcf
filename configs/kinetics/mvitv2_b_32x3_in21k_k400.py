from .mvitv2_b_32x3_k400 import model, task
from .mvitv2_s_16x4_in21k_k400 import dataloader, lr_multiplier, optimizer, train

dataloader.train.mapper.sampling.sampling_rate = 3
train.init_checkpoint = "mvitv2_b_in21k"
train.output_dir = "output/mvitv2_b_32x3_in21k_k400"

published = dict(table="14", top1=84.3, parameters=51.2, flops=225)
