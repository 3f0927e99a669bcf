"""Kinetics-400, 600 and 700, as the released configs train and test on them."""

from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from mvit_det.data import (
    ClipMapper,
    DenseSampling,
    StackSamples,
    build_train_loader,
    clip_test_transform,
    clip_train_transform,
    video_classes,
)
from mvit_det.evaluation import UnreadableImages, ViewAccuracy
from omegaconf import OmegaConf

from .imagenet import mixup, num_workers

# Videos go offline, so copies differ, and nobody states how many the released models saw. These are
# the training videos of MMAction2's copies; the paper has "about 240k" of Kinetics-400.
_TRAIN_VIDEOS = {400: 240_436, 600: 383_393, 700: 542_357}


def train_videos(classes=400):
    """Of that Kinetics: an epoch has each of them once, however many clips are made of it."""
    return _TRAIN_VIDEOS[classes]


def use_kinetics(dataloader, classes):
    """Train and test on Kinetics-400, 600 or 700, in place."""
    for split, loader in (("train", dataloader.train), ("val", dataloader.test)):
        loader.dataset.update(
            source=f"kinetics{classes}/{split}.csv",  # or a folder with one per class
            name=f"kinetics{classes}_{split}",
            # of the others nobody ships the names, so their classes are called by numbers
            classes="kinetics-400" if classes == 400 else None,
        )


def use_views(dataloader, clips, crops):
    """Average that many clips of each video, each in that many crops (1 or 3), in place."""
    dataloader.test.dataset.clips = clips
    dataloader.test.mapper.transform.crops = crops


def use_imagenet_colours(dataloader):
    """Normalise as the released L does, unlike S and B, in place: mean and deviation of ImageNet."""
    dataloader.train.mapper.transform.update(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


dataloader = OmegaConf.create()

# Paper, appendix B.4, names the augmentations; their numbers are those of the released configs.
dataloader.train = L(build_train_loader)(
    dataset=L(video_classes)(num_classes="${model.num_classes}"),
    mapper=L(ClipMapper)(
        is_train=True,
        sampling=L(DenseSampling)(
            num_frames="${model.backbone.input_size[0]}",
            sampling_rate=4,  # frames from one to the next, in a video of target_fps
            target_fps=30,
        ),
        transform=L(clip_train_transform)(
            size="${model.backbone.input_size}",
            crop="inception",
            scale=(0.08, 1.0),  # of the frame's area
            ratio=(3 / 4, 4 / 3),  # width / height
            hflip=0.5,
            auto_augment="rand-m7-n4-mstd0.5-inc1",
            erase_prob=0.25,
            mean=(0.45, 0.45, 0.45),
            std=(0.225, 0.225, 0.225),
        ),
    ),
    collate=mixup,
    repeats=2,  # clips that are made of each video of a batch
    total_batch_size=256,  # videos
    num_workers=num_workers,
)

dataloader.test = L(build_detection_test_loader)(
    dataset=L(video_classes)(num_classes="${model.num_classes}", clips=5),
    mapper=L(ClipMapper)(
        is_train=False,
        sampling="${dataloader.train.mapper.sampling}",
        transform=L(clip_test_transform)(
            size="${model.backbone.input_size}",
            crops=1,
            # That frames are resized to. None is what the released code does: of one crop 256 where
            # the crop has 224, of three the crop's own side. The paper (B.4) has 256 for both.
            short_side=None,
            mean="${dataloader.train.mapper.transform.mean}",
            std="${dataloader.train.mapper.transform.std}",
        ),
    ),
    batch_size=8,  # clips, with all their crops, of each process
    num_workers=num_workers,
    collate_fn=L(StackSamples)(),
)
use_kinetics(dataloader, 400)

dataloader.evaluator = [
    L(ViewAccuracy)(
        dataset_name="${dataloader.test.dataset.name}",
        output_dir="${train.output_dir}",
        pixel_mean="${dataloader.train.mapper.transform.mean}",
        pixel_std="${dataloader.train.mapper.transform.std}",
    ),
    L(UnreadableImages)(),
]
