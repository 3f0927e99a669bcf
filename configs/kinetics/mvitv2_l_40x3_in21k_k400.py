from ..common.data.kinetics import train_videos
from ..common.schedule import iterations
from .mvitv2_l_16x4_in21k_k400 import dataloader, lr_multiplier, model, optimizer, task, train

# Paper, appendix B.4, of long clips: 30 epochs from the model of 16x4, 1.6e-5 per 128 clips, weight
# decay 1e-8, no mixup. The released config has no repeated clips either, and keeps the smoothing of
# labels. Start and end of the schedule, relative to optimizer.lr, are as before.
model.backbone.input_size = (40, 224, 224)
model.max_views = 2
dataloader.train.mapper.sampling.sampling_rate = 3
dataloader.train.collate.prob = 0.0
dataloader.train.repeats = 1
dataloader.train.total_batch_size = 128
optimizer.lr = 1.6e-5
optimizer.weight_decay = 1e-8
train.max_iter = iterations(30, train_videos(), dataloader.train.total_batch_size)
train.eval_period = train.max_iter // 6  # 5 epochs
# Never released: mvitv2_l_16x4_in21k_k400.py makes it.
train.init_checkpoint = "output/mvitv2_l_16x4_in21k_k400/model_final.pth"
train.output_dir = "output/mvitv2_l_40x3_in21k_k400"

# The paper's parameters and FLOPs are those with model.backbone.expand_in=mlp
published = dict(table="14", top1=84.5, parameters=217.6, flops=1127)
