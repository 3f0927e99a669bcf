"""Minutes on two CPU cores: a small MViTv2 Mask R-CNN learns to find coloured shapes.

The data are generated on the first run. Model, data and schedule are those of the COCO configs,
only smaller, so this file also shows every option that scales them.
"""

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L

from mvit_det.data import shapes_dataset

from .common.data.coco import dataloader
from .common.models.mask_rcnn import model, task
from .common.optim import AdamW as optimizer
from .common.schedule import step_schedule
from .common.train import train

image_size = 128

model.backbone.bottom_up.update(
    img_size=image_size,
    embed_dim=32,
    depth=6,
    last_block_indexes=(0, 1, 4, 5),
    adaptive_window_size=16,  # tokens: half of the 32 x 32 grid
    drop_path_rate=0.05,
    rel_pos_zero_init=False,
)
model.backbone.out_channels = 48
model.proposal_generator.anchor_generator.sizes = [[8], [16], [32], [64], [128]]
model.proposal_generator.batch_size_per_image = 64
model.proposal_generator.pre_nms_topk = (400, 200)
model.proposal_generator.post_nms_topk = (200, 100)
model.roi_heads.num_classes = 5
model.roi_heads.batch_size_per_image = 32
model.roi_heads.box_head.fc_dims = [256, 256]
model.roi_heads.mask_head.conv_dims = [32, 32]

# Names with a leading underscore do not become config keys.
for _split, _loader in (("train", dataloader.train), ("val", dataloader.test)):
    _loader.dataset = L(shapes_dataset)(
        split=_split,
        num_train=500,
        num_val=80,
        image_size=image_size,
        object_size=(20, 64),
        num_classes="${model.roi_heads.num_classes}",
    )
    _loader.mapper.augmentations = [L(T.ResizeShortestEdge)(short_edge_length=image_size)]
    _loader.num_workers = 1
dataloader.train.mapper.augmentations.append(L(T.RandomFlip)(horizontal=True))
dataloader.train.total_batch_size = 4
for _evaluator in dataloader.evaluator:
    if "dataset_name" in _evaluator:
        _evaluator.dataset_name = "shapes_val"

train.output_dir = "output/quickstart"
train.device = "cpu"
train.seed = 1
train.max_iter = 1300  # * 4 images / 500 images = 10 epochs
train.eval_period = 325
train.checkpointer.period = 650
lr_multiplier = step_schedule(train.max_iter, milestones=[920, 1170], warmup_iters=100)
optimizer.lr = 1e-3
