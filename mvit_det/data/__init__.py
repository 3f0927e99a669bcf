"""Data of all tasks: custom files and named data sets, loaders, augmentation, generated data."""

from mvit_det.data.actions.datasets import ActionClips, action_clips
from mvit_det.data.actions.mapper import ActionClipMapper
from mvit_det.data.actions.transforms import action_test_transform, action_train_transform
from mvit_det.data.classification.datasets import ImageClasses, image_classes
from mvit_det.data.classification.mapper import ImageMapper
from mvit_det.data.classification.transforms import test_transform, train_transform
from mvit_det.data.collate import Mixup, StackActionClips, StackSamples
from mvit_det.data.decoding.reader import VideoError, open_video
from mvit_det.data.detection.coco import class_names, coco_dataset, named_dataset, uses_rle
from mvit_det.data.detection.mapper import TolerantMapper
from mvit_det.data.image_files import PictureFormat
from mvit_det.data.loader import build_train_loader
from mvit_det.data.synthetic.motion_clips import motion_clips
from mvit_det.data.synthetic.moving_figures import moving_figures
from mvit_det.data.synthetic.shape_crops import shape_classes
from mvit_det.data.synthetic.shapes import shapes_dataset
from mvit_det.data.video.datasets import VideoClasses, video_classes, video_views
from mvit_det.data.video.mapper import ClipMapper
from mvit_det.data.video.sampling import DenseSampling, KeyFrameSampling, SegmentSampling
from mvit_det.data.video.transforms import clip_test_transform, clip_train_transform
