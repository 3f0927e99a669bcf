"""Minutes on two CPU cores: a small MViTv2 learns which figure does what, on generated videos.

Each figure does one to three things at a time, and no single frame shows which:
mvit_det/data/synthetic/moving_figures.py explains why, `benchmarks/compare.py motion --actions`
shows it. Files, clips, head and evaluation are those of AVA.
"""

from detectron2.config import LazyCall as L

from mvit_det.data import moving_figures

from .common.data.ava import dataloader
from .common.models.action_detector import model, task
from .common.optim import classification_AdamW as optimizer
from .common.schedule import cosine_schedule
from .common.train import train

model.backbone.update(
    input_size=(8, 128, 128),
    patch_kernel=(3, 11, 11),
    patch_stride=(2, 8, 8),
    patch_padding=(1, 5, 5),
    adaptive_kv_stride=(1, 4, 4),
    embed_dim=32,
    # Two stages, whose map has one cell per 16 pixels: figures are 17 to 38 pixels wide.
    last_block_indexes=(1, 4),
    drop_path_rate=0.0,
    class_token=False,
)
model.num_classes = 8
model.head_dropout = 0.0

# Names with a leading underscore do not become config keys.
for _split, _loader in (("train", dataloader.train), ("val", dataloader.test)):
    _loader.dataset = L(moving_figures)(
        split=_split,
        num_train=200,
        num_val=30,
        name=f"moving_figures_{_split}",
        num_classes="${model.num_classes}",
    )
    _loader.num_workers = 1
dataloader.train.mapper.sampling.sampling_rate = 3  # each frame: videos have 10 per second
dataloader.train.mapper.transform.update(
    short_side=(128, 144),
    hflip=0.0,  # mirroring turns "left" into "right" and reverses "clockwise"
)
dataloader.train.total_batch_size = 8

train.output_dir = "output/quickstart_actions"
train.device = "cpu"
train.seed = 1
train.max_iter = 1600  # * 8 clips / 1600 key frames = 8 epochs
train.eval_period = 400
train.checkpointer.period = 800
train.best_metric = "actions/mAP50"
train.clip_gradients = 1.0
lr_multiplier = cosine_schedule(warmup=0.1, start=1e-3, end=1e-3)
optimizer.lr = 1e-3
