from ..common.data.kinetics import train_videos
from ..common.schedule import iterations
from .mvitv2_s_16x4_in1k_k400 import dataloader, lr_multiplier, model, optimizer, task, train

# Paper, appendix B.4: 75 epochs, 1.6e-4 per 512 clips.
optimizer.lr = 1.6e-4 * 256 * 2 / 512
train.max_iter = iterations(75, train_videos(), dataloader.train.total_batch_size)
train.eval_period = train.max_iter // 15  # 5 epochs
# Never released: configs/imagenet/mvitv2_s_in21k.py makes it.
train.init_checkpoint = "output/mvitv2_s_in21k/model_final.pth"
train.output_dir = "output/mvitv2_s_16x4_in21k_k400"

published = dict(table="14", top1=82.6, parameters=34.5, flops=64)
