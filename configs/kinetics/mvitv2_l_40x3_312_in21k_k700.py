from ..common.data.kinetics import train_videos, use_kinetics, use_views
from ..common.schedule import iterations
from .mvitv2_l_40x3_312_in21k_k400 import dataloader, lr_multiplier, model, optimizer, task, train

# Hyper-parameters are those of Kinetics-400 (paper, appendix B.4).
model.num_classes = 700
use_kinetics(dataloader, 700)
use_views(dataloader, clips=3, crops=3)
train.max_iter = iterations(30, train_videos(700), dataloader.train.total_batch_size)
train.eval_period = train.max_iter // 6  # 5 epochs
# Never released: mvitv2_l_16x4_in21k_k700.py makes it.
train.init_checkpoint = "output/mvitv2_l_16x4_in21k_k700/model_final.pth"
train.output_dir = "output/mvitv2_l_40x3_312_in21k_k700"

published = dict(table="12", top1=79.4, top5=94.9, parameters=217.6, flops=2828)
