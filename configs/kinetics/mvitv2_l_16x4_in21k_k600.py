from ..common.data.kinetics import train_videos, use_kinetics
from ..common.schedule import iterations
from .mvitv2_l_16x4_in21k_k400 import dataloader, lr_multiplier, model, optimizer, task, train

# Hyper-parameters are those of Kinetics-400 (paper, appendix B.4).
model.num_classes = 600
use_kinetics(dataloader, 600)
train.max_iter = iterations(75, train_videos(600), dataloader.train.total_batch_size)
train.eval_period = train.max_iter // 15  # 5 epochs
train.output_dir = "output/mvitv2_l_16x4_in21k_k600"

published = dict()
