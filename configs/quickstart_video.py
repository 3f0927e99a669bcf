"""Minutes on two CPU cores: a small MViTv2 learns to classify motions, on generated clips.

A single frame, or a set of frames without their order, gives no more than chance accuracy:
mvit_det/data/synthetic/motion_clips.py explains why, `benchmarks/compare.py motion` shows it. Data,
views and evaluation are those of Kinetics.
"""

from detectron2.config import LazyCall as L

from mvit_det.data import motion_clips

from .common.data.imagenet import without_mixup
from .common.data.kinetics import dataloader, use_views
from .common.models.recognizer import model, task
from .common.optim import classification_AdamW as optimizer
from .common.schedule import cosine_schedule
from .common.train import train

model.backbone.update(
    input_size=(8, 64, 64),
    patch_kernel=(3, 11, 11),
    patch_stride=(2, 8, 8),
    patch_padding=(1, 5, 5),
    adaptive_kv_stride=(1, 2, 2),
    embed_dim=32,
    last_block_indexes=(0, 1, 4, 5),
    drop_path_rate=0.0,
)
model.num_classes = 10
model.head_dropout = 0.0

# Names with a leading underscore do not become config keys.
for _split, _loader in (("train", dataloader.train), ("val", dataloader.test)):
    _loader.dataset = L(motion_clips)(
        split=_split,
        num_train=1500,
        num_val=200,
        name=f"motion_clips_{_split}",
        num_classes="${model.num_classes}",
    )
    _loader.num_workers = 1
dataloader.train.mapper.resize_on_decoding = False  # the generated frames are small
dataloader.train.mapper.transform.update(
    scale=(0.5, 1.0),
    hflip=0.0,  # mirroring turns "left" into "right" and reverses "clockwise"
    auto_augment=None,
    erase_prob=0.0,
)
without_mixup(dataloader)
dataloader.train.update(total_batch_size=32, repeats=1)
use_views(dataloader, clips=2, crops=3)
dataloader.test.batch_size = 16

train.output_dir = "output/quickstart_video"
train.device = "cpu"
train.seed = 1
train.max_iter = 1000  # * 32 clips / 1500 videos = 21 epochs
train.eval_period = 250
train.checkpointer.period = 500
train.best_metric = "classification/top1"
train.clip_gradients = 1.0
lr_multiplier = cosine_schedule(warmup=0.1, start=1e-3, end=1e-3)
optimizer.lr = 1e-3
