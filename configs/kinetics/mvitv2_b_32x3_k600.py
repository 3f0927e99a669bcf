from ..common.data.kinetics import train_videos, use_kinetics
from ..common.schedule import iterations
from .mvitv2_b_32x3_k400 import dataloader, lr_multiplier, model, optimizer, task, train

# Hyper-parameters are those of Kinetics-400 (paper, appendix B.4).
model.num_classes = 600
use_kinetics(dataloader, 600)
train.max_iter = iterations(200, train_videos(600), dataloader.train.total_batch_size)
train.eval_period = train.max_iter // 20  # 10 epochs
train.output_dir = "output/mvitv2_b_32x3_k600"

# The paper's 206 GFLOPs must be wrong: Kinetics-400, with the same backbone and clips, has 225.
published = dict(table="11", top1=85.5, top5=97.2, parameters=51.4, flops=206)
