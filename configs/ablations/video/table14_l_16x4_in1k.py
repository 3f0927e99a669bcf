from ...common.data.kinetics import use_imagenet_colours
from ...kinetics.mvitv2_s_16x4_in1k_k400 import dataloader, lr_multiplier, optimizer, task, train
from .table14_l_16x4_scratch import model

use_imagenet_colours(dataloader)
train.init_checkpoint = "mvitv2_l_in1k"
train.output_dir = "output/table14_l_16x4_in1k"

published = dict()
