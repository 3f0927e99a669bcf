from ..common.data.kinetics import train_videos, use_views
from ..common.models.recognizer import mvitv2
from ..common.schedule import cosine_schedule, iterations
from .mvitv2_s_16x4_k400 import dataloader, model, optimizer, task, train

# Fine-tuning after MaskFeat (Wei et al., CVPR 2022), by the released config: 100 epochs, the first
# 20 of them warm-up, 6e-4 per 16 videos with two clips each, from 1e-6 to 1e-6 per 16.
model.backbone = mvitv2("S", (16, 224, 224), drop_path_rate=0.1, expand_in="mlp")
model.update(readout="mean_before_norm", head_dropout=0.0, head_init_scale=0.001)
dataloader.train.mapper.transform.auto_augment = "rand-m7-mstd0.5-inc1"
optimizer.lr = 6e-4 * 256 / 16
optimizer.params.layer_decay = 0.75
train.max_iter = iterations(100, train_videos(), dataloader.train.total_batch_size)
train.eval_period = train.max_iter // 10  # 10 epochs
lr_multiplier = cosine_schedule(warmup=20 / 100, start=1e-6 / 6e-4, end=1e-6 / 6e-4)
train.clip_gradients = 5.0
# Pre-training kept the grid of stage 3 in stage 4, whose position tables are resized.
train.init_checkpoint = "mvitv2_s_16x4_maskfeat_k400"
train.output_dir = "output/mvitv2_s_16x4_maskfeat_k400"
use_views(dataloader, clips=10, crops=1)

published = dict(table="MaskFeat", top1=82.2, parameters=36, flops=71)
