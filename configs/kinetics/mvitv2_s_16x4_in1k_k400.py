from ..common.data.kinetics import train_videos, use_views
from ..common.schedule import iterations
from .mvitv2_s_16x4_k400 import dataloader, lr_multiplier, model, optimizer, task, train

# Paper, appendix B.4: 100 epochs, 4.8e-4 per 512 clips, mixup on. The rest is not stated and taken
# from training from scratch: share of warm-up, both ends of the schedule, drop path.
optimizer.lr = 4.8e-4 * 256 * 2 / 512
train.max_iter = iterations(100, train_videos(), dataloader.train.total_batch_size)
train.eval_period = train.max_iter // 10  # 10 epochs
train.init_checkpoint = "mvitv2_s_in1k"
train.output_dir = "output/mvitv2_s_16x4_in1k_k400"
use_views(dataloader, clips=10, crops=1)

published = dict(table="14", top1=82.2, parameters=34.5, flops=64)
