from ...common.data.kinetics import use_imagenet_colours
from ...common.models.recognizer import mvitv2
from ...kinetics.mvitv2_s_16x4_k400 import dataloader, lr_multiplier, model, optimizer, task, train

# What table14_l_40x3_scratch starts from. Drop path, colours and memory are those of
# mvitv2_l_16x4_in21k_k400; channels widen as in the paper's parameters and FLOPs of L.
model.backbone = mvitv2(
    "L", (16, 224, 224), drop_path_rate=0.75, use_act_checkpoint=True, expand_in="mlp"
)
model.max_views = 4
use_imagenet_colours(dataloader)
train.output_dir = "output/table14_l_16x4_scratch"

published = dict()
