from ..common.models.recognizer import mvitv2
from ..common.schedule import cosine_schedule
from .mvitv2_s_16x4_ssv2 import dataloader, model, optimizer, task, train

# 0.0015 per 16 clips, from 1e-4 to 1e-6 per 16; the paper has 0.02 per 512 for all models.
model.backbone = mvitv2("B", (32, 224, 224), drop_path_rate=0.4)
optimizer.lr = 0.0015 * 128 / 16
lr_multiplier = cosine_schedule(warmup=3 / 100, start=1e-4 / 0.0015, end=1e-6 / 0.0015)
train.init_checkpoint = "mvitv2_b_32x3_k400"
train.output_dir = "output/mvitv2_b_32x3_ssv2"

published = dict(
    table="13", top1=70.5, top5=92.7, parameters=51.1, flops=225, weights="mvitv2_b_32x3_ssv2"
)
