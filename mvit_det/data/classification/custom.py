"""An image classifier's custom data: point any config of one at folders of images, or tar files."""

from omegaconf import DictConfig

from mvit_det.data.classification.datasets import class_folders, count_images, image_classes
from mvit_det.data.custom.classes import use_custom_classes
from mvit_det.data.custom.files import CustomFiles


def use_custom_images(cfg: DictConfig, files: CustomFiles, processes: int) -> None:
    """Replace data, number of classes and schedule; folders are those of `image_classes`."""
    # Photographs of one's own lie in all orientations; prediction turns them as well.
    for loader in (cfg.dataloader.train, cfg.dataloader.test):
        loader.mapper.exif_transpose = True
    found = dict(dataset=image_classes, source="root", count=count_images)
    found |= dict(class_folders=class_folders, samples=32)
    use_custom_classes(cfg, files.train_images, files.val_images, processes, **found)
