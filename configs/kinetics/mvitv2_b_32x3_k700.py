from ..common.data.kinetics import train_videos, use_kinetics, use_views
from ..common.schedule import iterations
from .mvitv2_b_32x3_k400 import dataloader, lr_multiplier, model, optimizer, task, train

# Hyper-parameters are those of Kinetics-400 (paper, appendix B.4).
model.num_classes = 700
use_kinetics(dataloader, 700)
use_views(dataloader, clips=3, crops=3)
train.max_iter = iterations(200, train_videos(700), dataloader.train.total_batch_size)
train.eval_period = train.max_iter // 20  # 10 epochs
train.output_dir = "output/mvitv2_b_32x3_k700"

# The paper's 206 GFLOPs must be wrong: Kinetics-400, with the same backbone and clips, has 225.
published = dict(table="12", top1=76.6, top5=93.2, parameters=51.4, flops=206)
