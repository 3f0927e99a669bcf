from ..common.models.recognizer import mvitv2
from .mvitv2_s_16x4_k400 import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone = mvitv2("B", (32, 224, 224), drop_path_rate=0.3)
dataloader.train.mapper.sampling.sampling_rate = 3
train.output_dir = "output/mvitv2_b_32x3_k400"

published = dict(
    table="10", top1=82.9, top5=95.7, parameters=51.2, flops=225, weights="mvitv2_b_32x3_k400"
)
