from .common.data.coco import dataloader
from .common.models.mask_rcnn import model, task
from .common.optim import AdamW as optimizer
from .common.schedule import lr_multiplier_3x as lr_multiplier
from .common.schedule import max_iter_3x
from .common.train import train

train.max_iter = max_iter_3x
train.amp.enabled = True
train.ddp.fp16_compression = True
train.init_checkpoint = "mvitv2_t_in1k"

# Figures of the paper: average precision, millions of parameters, GFLOPs. And the trained
# detector, if released: --eval-only train.init_checkpoint=...
published = dict(
    table="5",
    box_ap=48.2,
    mask_ap=43.8,
    parameters=44,
    flops=279,
    weights="mask_rcnn_mvitv2_t_3x",
)
