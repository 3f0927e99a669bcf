from ..common.models.classifier import mvitv2
from .mvitv2_s_in21k import dataloader, lr_multiplier, model, optimizer, task, train

# The released ImageNet-21K weights of L widen the channels in the attention, unlike those of 1K.
model.backbone = mvitv2("L", drop_path_rate=0.5, class_token=True)
optimizer.lr = 1e-4 * 2048 / 256
optimizer.weight_decay = 0.1
train.output_dir = "output/mvitv2_l_in21k"

published = dict(weights="mvitv2_l_in21k")
