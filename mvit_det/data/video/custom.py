"""A video classifier's custom data: point any config of one at folders or a list of videos."""

from omegaconf import DictConfig

from mvit_det.data.custom.classes import use_custom_classes
from mvit_det.data.custom.files import CustomFiles
from mvit_det.data.video.datasets import count_videos, video_class_folders, video_classes


def use_custom_videos(cfg: DictConfig, files: CustomFiles, processes: int) -> None:
    """Replace data, number of classes and schedule; folders and lists are those of `video_classes`."""
    found = dict(dataset=video_classes, source="source", count=count_videos)
    found |= dict(class_folders=video_class_folders, samples=8, root=None, classes=None, fps=None)
    use_custom_classes(cfg, files.train_videos, files.val_videos, processes, **found)
