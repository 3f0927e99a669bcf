"""Custom data for video classification: folders or lists of videos, for any such config."""

from typing import Any

from omegaconf import DictConfig

from mvit_det.data.custom.classes import use_custom_classes
from mvit_det.data.custom.files import CustomFiles
from mvit_det.data.video.datasets import count_videos, video_class_folders, video_classes


def use_custom_videos(cfg: DictConfig, files: CustomFiles, processes: int) -> None:
    """Replace the data, the number of classes and the schedule of a video classification config.

    Args:
        cfg: config of a video classifier, changed in place.
        files: ``train_videos`` (None: evaluation only) and ``val_videos``, sources as for
            `video_classes`.
        processes: number of training processes, which share the batch.

    Raises:
        UserError: there are no videos or only one class, or ``val_videos`` has a class that
            ``train_videos`` lacks.
    """
    assert files.val_videos is not None  # checked by `CustomFiles.check`
    options: dict[str, Any] = dict(dataset=video_classes, source="source", count=count_videos)
    options |= dict(class_folders=video_class_folders, samples=8, root=None, classes=None, fps=None)
    use_custom_classes(cfg, files.train_videos, files.val_videos, processes, **options)
