from ..common.data.kinetics import use_imagenet_colours
from ..common.models.recognizer import mvitv2
from .mvitv2_s_16x4_in21k_k400 import dataloader, lr_multiplier, model, optimizer, task, train

# Initial model for long clips (paper, section 6.1). It was never released, so drop path and colour
# normalisation are those of the released model for long clips.
model.backbone = mvitv2("L", (16, 224, 224), drop_path_rate=0.75, use_act_checkpoint=True)
model.max_views = 4
use_imagenet_colours(dataloader)
train.init_checkpoint = "mvitv2_l_in21k"
train.output_dir = "output/mvitv2_l_16x4_in21k_k400"

published = dict()
