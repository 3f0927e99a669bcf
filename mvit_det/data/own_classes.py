"""One's own classes in one command: point any classification config at folders of images."""

import logging
import os

from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from mvit_det.data.labelled_images import class_folders, count_images, image_classes
from mvit_det.data.own_schedule import fit_schedule
from mvit_det.errors import UserError, some

logger = logging.getLogger(__name__)

# Images per process and iteration: what a GPU of 8 GB holds of the smaller models.
BATCH = 32
# From scratch; and from a checkpoint, as the paper fine-tunes (appendix B.2).
EPOCHS, EPOCHS_OF_FINE_TUNING = 100, 30


def use_own_classes(
    cfg: DictConfig, *, train_images: str | None, val_images: str | None, processes: int = 1
) -> DictConfig:
    """Replace the data of a classification config, its number of classes, and its schedule.

    Args:
        cfg: changed in place.
        train_images, val_images: class folders or tar files. To evaluate only, the second is enough.
        processes: that train.
    """
    if not val_images:
        raise UserError(
            "One's own data need --val-images as well (it may be the training folder again)."
        )
    # Seen from here, not from where a saved config is used again.
    val_images = os.path.abspath(os.path.expanduser(val_images))
    if train_images:
        train_images = os.path.abspath(os.path.expanduser(train_images))
    folders = class_folders(train_images or val_images)
    _check_classes(folders, train_images, val_images)
    cfg.model.num_classes = len(folders)
    data = cfg.dataloader
    # Photographs of one's own lie in all orientations; prediction turns them as well.
    data.train.mapper.exif_transpose = data.test.mapper.exif_transpose = True
    if train_images:
        data.train.dataset = L(image_classes)(
            root=train_images, name="own_train", num_classes="${model.num_classes}"
        )
        released = data.train.total_batch_size
        batch = max(1, min(BATCH, released // processes)) * processes
        epochs = EPOCHS_OF_FINE_TUNING if cfg.train.init_checkpoint else EPOCHS
        num_images = count_images(train_images)
        fit_schedule(cfg, num_images, batch, epochs=epochs, released_batch=released)
    data.test.dataset = L(image_classes)(
        root=val_images, name="own_val", num_classes="${model.num_classes}"
    )
    if train_images:
        data.test.dataset.same_classes_as = train_images
    for evaluator in data.evaluator:
        if "dataset_name" in evaluator:
            evaluator.dataset_name = "own_val"
        if "classes" in evaluator:  # of a larger set, the first ones alone compete
            evaluator.classes = None
    logger.info("Own data with %d classes: %s", len(folders), some(folders, 20))
    return cfg


def _check_classes(folders: list[str], train_images: str | None, val_images: str) -> None:
    """The test data are looked at now: they are loaded only when the first evaluation is due."""
    if len(folders) < 2:
        raise UserError(
            f"{train_images or val_images} has the single class {folders[0]!r}: a classifier needs "
            "two or more, each in a folder of its own."
        )
    unknown = [name for name in class_folders(val_images) if name not in set(folders)]
    if unknown:
        raise UserError(
            f"{val_images} has the classes {some(unknown, 20)}, which {train_images} does not have "
            f"({some(folders, 20)}): give both the same class folders."
        )
