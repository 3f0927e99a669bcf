"""AVA v2.2, trained and tested as in PySlowFast: the paper (appendix B.6) gives few details."""

from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from omegaconf import OmegaConf

from mvit_det.data import (
    ActionClipMapper,
    KeyFrameSampling,
    PictureFormat,
    StackActionClips,
    action_clips,
    action_test_transform,
    action_train_transform,
    build_train_loader,
)
from mvit_det.evaluation import ActionMetrics, UnreadableImages

from .imagenet import num_workers

# Clips per epoch, one for each second with boxes: "211k training and 57k validation" (paper,
# appendix B.6), the seconds 902 to 1798 of 235 and of 64 movies.
train_key_frames = 211_000

_ANNOTATIONS = "ava/annotations"
_PERSONS = f"{_ANNOTATIONS}/person_box_67091280_iou90/ava_detection"

dataloader = OmegaConf.create()

dataloader.pictures = L(PictureFormat)(value_range=None, bands=None, max_pixels=None)  # frames

dataloader.train = L(build_train_loader)(
    dataset=L(action_clips)(
        videos="ava/videos",  # or ava/frames: a folder of pictures for each
        start=900.0,  # second of the movie at which videos and frames begin; 0 for whole movies
        seconds=(902, 1798),
        actions=f"{_ANNOTATIONS}/ava_train_v2.2.csv",
        # Detected boxes with the actions of the annotated box that they overlap by IoU 0.9, and
        # detected boxes that overlap none, as negatives.
        proposals=[f"{_PERSONS}_train_boxes_and_labels_include_negative_v2.2.csv"],
        min_score=0.8,
        label_map=f"{_ANNOTATIONS}/ava_action_list_v2.2_for_activitynet_2019.pbtxt",
        num_classes="${model.num_classes}",
        name="ava_train",
    ),
    mapper=L(ActionClipMapper)(
        is_train=True,
        sampling=L(KeyFrameSampling)(
            num_frames="${model.backbone.input_size[0]}",
            sampling_rate=4,  # frame step, at target_fps
            target_fps=30.0,
        ),
        # Fewer augmentations than on Kinetics: PySlowFast's loader for AVA has no RandAugment,
        # mixup or erasing, and only square crops.
        transform=L(action_train_transform)(
            size="${model.backbone.input_size}",
            short_side=(256, 320),
            hflip=0.5,
            mean=(0.45, 0.45, 0.45),
            std=(0.225, 0.225, 0.225),
        ),
    ),
    collate=L(StackActionClips)(),
    total_batch_size=512,  # clips
    num_workers=num_workers,
)

dataloader.test = L(build_detection_test_loader)(
    dataset=L(action_clips)(
        videos="${dataloader.train.dataset.videos}",
        start="${dataloader.train.dataset.start}",
        seconds="${dataloader.train.dataset.seconds}",
        actions=f"{_ANNOTATIONS}/ava_val_v2.2.csv",
        proposals=[f"{_PERSONS}_val_boxes_and_labels.csv"],
        annotated_boxes=False,  # persons must be detected: annotated boxes are for scoring only
        min_score="${dataloader.train.dataset.min_score}",
        excluded=f"{_ANNOTATIONS}/ava_val_excluded_timestamps_v2.2.csv",
        label_map="${dataloader.train.dataset.label_map}",
        num_classes="${model.num_classes}",
        name="ava_val",
    ),
    mapper=L(ActionClipMapper)(
        is_train=False,
        sampling="${dataloader.train.mapper.sampling}",
        transform=L(action_test_transform)(
            size="${model.backbone.input_size}",
            # "center" is a central square of the model's size, "full" the whole frame with its
            # shorter side of the model's size
            crop="center",
            mean="${dataloader.train.mapper.transform.mean}",
            std="${dataloader.train.mapper.transform.std}",
        ),
    ),
    batch_size=8,  # clips per process
    num_workers=num_workers,
    collate_fn=L(StackActionClips)(),
)

dataloader.evaluator = [
    L(ActionMetrics)(
        dataset_name="${dataloader.test.dataset.name}",
        output_dir="${train.output_dir}",
        pixel_mean="${dataloader.train.mapper.transform.mean}",
        pixel_std="${dataloader.train.mapper.transform.std}",
    ),
    L(UnreadableImages)(),
]
