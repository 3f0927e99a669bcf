from ..common.models.recognizer import mvitv2
from .mvitv2_s_16x4_k400_ava import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone = mvitv2("B", (32, 224, 224), drop_path_rate=0.4)
dataloader.train.mapper.sampling.sampling_rate = 3
train.init_checkpoint = "mvitv2_b_32x3_k400"
train.output_dir = "output/mvitv2_b_32x3_k400_ava"

published = dict(table="A.2", center=28.1, full=29.0, parameters=51.0, flops=225.2)
