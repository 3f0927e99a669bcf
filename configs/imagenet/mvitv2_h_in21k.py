from ..common.data.imagenet21k import train_images
from ..common.models.classifier import mvitv2
from ..common.schedule import iterations
from .mvitv2_l_in21k import dataloader, lr_multiplier, model, optimizer, task, train

model.backbone = mvitv2("H", drop_path_rate=0.8, class_token=True, use_act_checkpoint=True)
train.max_iter = iterations(60, train_images, dataloader.train.total_batch_size)
train.output_dir = "output/mvitv2_h_in21k"

published = dict(weights="mvitv2_h_in21k")
