"""A video classifier's custom data: point any config of one at folders or a list of videos."""

from omegaconf import DictConfig

from mvit_det.data.custom.classes import ClassKind, use_custom_classes
from mvit_det.data.custom.files import CustomFiles
from mvit_det.data.video.datasets import count_videos, video_class_folders, video_classes

VIDEOS = ClassKind(
    *(video_classes, "source", ("root", "classes", "fps"), video_class_folders, count_videos),
    batch=8,
)


def use_custom_videos(cfg: DictConfig, files: CustomFiles, processes: int = 1) -> None:
    """Replace data, number of classes and schedule; folders and lists are those of `video_classes`."""
    use_custom_classes(cfg, VIDEOS, files.train_videos, files.val_videos, processes)
