import os
import sys

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from omegaconf import OmegaConf

from mvit_det.data import PictureFormat, TolerantMapper, build_train_loader, named_dataset
from mvit_det.evaluation import CocoMetrics, PredictionPictures, UnreadableImages

# as the model's, where it has these keys
masks = "${oc.select:model.masks,true}"
max_detections = "${oc.select:model.max_detections,null}"
num_workers = min(4, os.cpu_count() or 1)


def resize(short_sides, max_size):
    """Resize the short side to one of the sizes at random; the long side stays within max_size."""
    return L(T.ResizeShortestEdge)(
        short_edge_length=short_sides, max_size=max_size, sample_style="choice"
    )


# Half of the images are first cropped, as in DETR: resized, then cut to 384 to 600 pixels a side.
# The paper does not mention it; the released models were trained that way.
random_crop = L(T.RandomApply)(
    prob=0.5,
    tfm_or_aug=L(T.AugmentationList)(
        augs=[
            resize([400, 500, 600], max_size=sys.maxsize),
            L(T.RandomCrop)(crop_type="absolute_range", crop_size=(384, 600)),
        ]
    ),
)

dataloader = OmegaConf.create()

dataloader.pictures = L(PictureFormat)(value_range=None, bands=None, max_pixels=None)  # all files

dataloader.train = L(build_train_loader)(
    dataset=L(named_dataset)(
        names="coco_2017_train",
        num_classes="${model.roi_heads.num_classes}",
        masks=masks,
        max_detections=max_detections,
    ),
    mapper=L(TolerantMapper)(
        is_train=True,
        augmentations=[
            random_crop,
            resize(tuple(range(480, 801, 32)), max_size=1333),
            L(T.RandomFlip)(horizontal=True),
        ],
        image_format="RGB",
        use_instance_mask=masks,
    ),
    total_batch_size=64,
    num_workers=num_workers,
)

dataloader.test = L(build_detection_test_loader)(
    dataset=L(named_dataset)(
        names="coco_2017_val",
        filter_empty=False,
        num_classes="${model.roi_heads.num_classes}",
        masks=masks,
        max_detections=max_detections,
    ),
    mapper=L(TolerantMapper)(
        is_train=False,
        augmentations=[resize([800], max_size=1333)],
        image_format="${...train.mapper.image_format}",
    ),
    num_workers=num_workers,
)

dataloader.evaluator = [
    L(CocoMetrics)(
        dataset_name="${dataloader.test.dataset.names}",
        output_dir="${train.output_dir}",
        max_detections=max_detections,
    ),
    L(PredictionPictures)(
        dataset_name="${dataloader.test.dataset.names}",
        output_dir="${train.output_dir}",
        pictures="${dataloader.pictures}",
    ),
    L(UnreadableImages)(),
]
