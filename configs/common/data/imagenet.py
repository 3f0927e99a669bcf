import os

from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from omegaconf import OmegaConf

from mvit_det.data import (
    ImageMapper,
    Mixup,
    PictureFormat,
    StackSamples,
    build_train_loader,
    image_classes,
    test_transform,
    train_transform,
)
from mvit_det.evaluation import ClassificationAccuracy, UnreadableImages

num_workers = min(12, os.cpu_count() or 1)
train_images = 1281167

mixup = L(Mixup)(
    num_classes="${model.num_classes}",
    mixup_alpha=0.8,
    cutmix_alpha=1.0,
    prob=1.0,
    switch_prob=0.5,  # probability of cutmix instead of mixup
    label_smoothing=0.1,
)

dataloader = OmegaConf.create()

dataloader.pictures = L(PictureFormat)(value_range=None, bands=None, max_pixels=None)  # all files

# The augmentations are those of the paper, appendix B.2; their numbers those of released configs.
dataloader.train = L(build_train_loader)(
    dataset=L(image_classes)(
        root="imagenet/train",
        name="imagenet_train",
        classes="imagenet-1k",
        num_classes="${model.num_classes}",
    ),
    mapper=L(ImageMapper)(
        is_train=True,
        transform=L(train_transform)(
            size="${model.backbone.input_size}",
            scale=(0.08, 1.0),  # of the image's area
            ratio=(3 / 4, 4 / 3),  # width / height
            hflip=0.5,
            auto_augment="rand-m9-n6-mstd0.5-inc1",
            interpolation="bicubic",
            erase_prob=0.25,
        ),
    ),
    collate=mixup,
    repeats=1,  # samples made of each image in a batch
    total_batch_size=2048,
    num_workers=num_workers,
)

dataloader.test = L(build_detection_test_loader)(
    dataset=L(image_classes)(
        root="imagenet/val",
        name="imagenet_val",
        classes="imagenet-1k",
        num_classes="${model.num_classes}",
    ),
    mapper=L(ImageMapper)(
        is_train=False,
        transform=L(test_transform)(
            size="${model.backbone.input_size}",
            # "center" crops the central 7/8 of the image, "resize" squeezes all of it into the size
            protocol="center",
            crop_ratio=0.875,
            interpolation="bicubic",
        ),
    ),
    batch_size=64,  # per process
    num_workers=num_workers,
    collate_fn=L(StackSamples)(),
)

dataloader.evaluator = [
    L(ClassificationAccuracy)(
        dataset_name="${dataloader.test.dataset.name}", output_dir="${train.output_dir}"
    ),
    L(UnreadableImages)(),
]


def without_mixup(loader):
    """Turn off mixup, cutmix and label smoothing, in place.

    The released code has one switch for all three; the paper does not say.
    """
    loader.train.collate.update(mixup_alpha=0.0, cutmix_alpha=0.0, label_smoothing=0.0)
