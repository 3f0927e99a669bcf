"""Custom data for image classification: folders of images or tar files, for any such config."""

from typing import Any

from omegaconf import DictConfig

from mvit_det.data.classification.datasets import class_folders, count_images, image_classes
from mvit_det.data.custom.classes import use_custom_classes
from mvit_det.data.custom.files import CustomFiles


def use_custom_images(cfg: DictConfig, files: CustomFiles, processes: int) -> None:
    """Replace the data, the number of classes and the schedule of an image classification config.

    Args:
        cfg: config of an image classifier, changed in place.
        files: ``train_images`` (optional) and ``val_images``, roots as for `image_classes`.
        processes: number of training processes, which share the batch.

    Raises:
        UserError: there are no images, or the two splits do not have the same classes.
    """
    # Custom photographs may have an EXIF orientation; prediction applies it as well.
    for loader in (cfg.dataloader.train, cfg.dataloader.test):
        loader.mapper.exif_transpose = True
    assert files.val_images  # see `CustomFiles.check`
    task: dict[str, Any] = dict(dataset=image_classes, source="root", samples=32)
    task |= dict(class_folders=class_folders, count=count_images)
    use_custom_classes(cfg, files.train_images, files.val_images, processes, **task)
