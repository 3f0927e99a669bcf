# Paper, Table 5: 48.2 box AP, 43.8 mask AP, 44 M parameters, 279 GFLOPs
from .common.data.coco import dataloader
from .common.models.mask_rcnn import model
from .common.optim import AdamW as optimizer
from .common.schedule import lr_multiplier_3x as lr_multiplier
from .common.schedule import max_iter_3x
from .common.train import train

train.max_iter = max_iter_3x
train.amp.enabled = True
train.ddp.fp16_compression = True
train.init_checkpoint = "detectron2://ImageNetPretrained/mvitv2/MViTv2_T_in1k.pyth"
