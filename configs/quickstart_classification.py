"""Three minutes on two CPU cores: the quickstart's backbone learns to classify shapes.

Its pictures are crops of generated images, similar to the quickstart's but distinct from them. The
weights initialise the detector of quickstart_pretrained.py.
"""

from detectron2.config import LazyCall as L

from mvit_det.data import shape_classes

from .common.data.imagenet import dataloader, without_mixup
from .common.models.classifier import model, task
from .common.optim import classification_AdamW as optimizer
from .common.schedule import cosine_schedule
from .common.train import train

model.backbone.update(
    # Half of the detector's, whose windows of stage 1 also have 16 x 16 tokens.
    input_size=(64, 64),
    embed_dim=32,
    last_block_indexes=(0, 1, 4, 5),
    drop_path_rate=0.05,
)
model.num_classes = 6  # five shapes and the background

# Names with a leading underscore do not become config keys.
for _split, _loader in (("train", dataloader.train), ("val", dataloader.test)):
    _loader.dataset = L(shape_classes)(
        split=_split,
        num_train=2000,
        num_val=250,
        image_size=128,
        crop_size="${model.backbone.input_size[0]}",
        object_size=(20, 64),
        name=f"shape_classes_{_split}",
        num_classes="${model.num_classes}",
    )
    _loader.num_workers = 1
dataloader.train.mapper.transform.update(
    scale=(0.5, 1.0), auto_augment=None, color_jitter=0.0, erase_prob=0.0
)
dataloader.train.total_batch_size = 64
dataloader.test.mapper.transform.protocol = "resize"
dataloader.test.batch_size = 128
without_mixup(dataloader)

train.output_dir = "output/quickstart_classification"
train.device = "cpu"
train.seed = 1
train.max_iter = 600  # * 64 images / 7042 images = 5.5 epochs
train.eval_period = 150
train.checkpointer.period = 300
train.best_metric = "classification/top1"
train.clip_gradients = 1.0
lr_multiplier = cosine_schedule(warmup=0.1, start=1e-3, end=1e-3)
optimizer.lr = 2e-3
