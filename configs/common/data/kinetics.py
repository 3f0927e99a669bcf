"""Kinetics-400, 600 and 700, as the released configs train and test on them."""

from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from omegaconf import OmegaConf

from mvit_det.data import (
    ClipMapper,
    DenseSampling,
    PictureFormat,
    StackSamples,
    build_train_loader,
    clip_test_transform,
    clip_train_transform,
    video_classes,
)
from mvit_det.evaluation import UnreadableImages, ViewAccuracy

from .imagenet import mixup, num_workers

# Videos go offline, so copies differ; the number used for the released models is not stated. These
# are the training videos of MMAction2's copies; the paper has "about 240k" for Kinetics-400.
_TRAIN_VIDEOS = {400: 240_436, 600: 383_393, 700: 542_357}


def train_videos(classes=400):
    """Return the number of training videos, each of which an epoch visits once."""
    return _TRAIN_VIDEOS[classes]


def use_kinetics(dataloader, classes):
    """Set the data to Kinetics-400, 600 or 700, in place."""
    for split, loader in (("train", dataloader.train), ("val", dataloader.test)):
        loader.dataset.update(
            source=f"kinetics{classes}/{split}.csv",  # or a folder with one folder per class
            name=f"kinetics{classes}_{split}",
            # class names of the others are not published, so their classes are numbered
            classes="kinetics-400" if classes == 400 else None,
        )


def use_views(dataloader, clips, crops):
    """Set the number of clips per video and of crops per clip (1 or 3) to average, in place."""
    dataloader.test.dataset.clips = clips
    dataloader.test.mapper.transform.crops = crops


def use_imagenet_colours(dataloader):
    """Normalise by ImageNet's mean and deviation, as released for L, not S and B; in place."""
    dataloader.train.mapper.transform.update(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


dataloader = OmegaConf.create()

dataloader.pictures = L(PictureFormat)(value_range=None, bands=None, max_pixels=None)  # frames

# The augmentations are those of the paper, appendix B.4; their numbers those of released configs.
dataloader.train = L(build_train_loader)(
    dataset=L(video_classes)(num_classes="${model.num_classes}"),
    mapper=L(ClipMapper)(
        is_train=True,
        sampling=L(DenseSampling)(
            num_frames="${model.backbone.input_size[0]}",
            sampling_rate=4,  # frame step, at target_fps
            target_fps=30,
        ),
        # The released code's decoder resizes frames to a shorter side of 256 (for crops of 224; 356
        # for 312) before they are augmented; in a test, to that of the transform below.
        resize_on_decoding=True,
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
    repeats=2,  # clips made of each video in a batch
    total_batch_size=256,  # videos
    num_workers=num_workers,
)

dataloader.test = L(build_detection_test_loader)(
    dataset=L(video_classes)(num_classes="${model.num_classes}", clips=5),
    mapper=L(ClipMapper)(
        is_train=False,
        sampling="${dataloader.train.mapper.sampling}",
        resize_on_decoding="${dataloader.train.mapper.resize_on_decoding}",
        transform=L(clip_test_transform)(
            size="${model.backbone.input_size}",
            crops=1,
            # Length that the short side is resized to. None follows the released code: with one
            # crop of 224, 256; with three crops, the crop's side. The paper (B.4) has 256 for both.
            short_side=None,
            mean="${dataloader.train.mapper.transform.mean}",
            std="${dataloader.train.mapper.transform.std}",
        ),
    ),
    batch_size=8,  # clips, with all their crops, per process
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
