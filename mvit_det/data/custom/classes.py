"""One's own classes in one command: point any classification config at folders of images or videos."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from mvit_det.data.classification.datasets import class_folders, count_images, image_classes
from mvit_det.data.custom.schedule import custom_batch, fit_schedule
from mvit_det.data.video.datasets import count_videos, video_class_folders, video_classes
from mvit_det.errors import UserError, some

logger = logging.getLogger(__name__)

# From scratch; and from a checkpoint, as the paper fine-tunes (appendix B.2).
EPOCHS, EPOCHS_OF_FINE_TUNING = 100, 30


@dataclass(frozen=True)
class _Kind:
    """What differs between images and videos.

    Attributes:
        flag: of the command line, behind --train- and --val-.
        dataset: that finds them, ``source`` being its argument for the folder.
        more: arguments of it that can be overridden on the command line.
        classes, count: of a folder.
        batch: samples per process and iteration: what a GPU of 8 GB holds of the smaller models.
    """

    flag: str
    dataset: Callable
    source: str
    more: tuple[str, ...]
    classes: Callable[[str], list[str]]
    count: Callable[[str], int]
    batch: int


IMAGES = _Kind("images", image_classes, "root", (), class_folders, count_images, 32)
VIDEOS = _Kind(
    "videos",
    video_classes,
    "source",
    ("root", "classes", "fps"),
    video_class_folders,
    count_videos,
    8,
)


def use_custom_classes(
    cfg: DictConfig, kind: _Kind, *, train: str | None, val: str | None, processes: int = 1
) -> None:
    """Replace the data of a classification config, its number of classes, and its schedule.

    Args:
        cfg: changed in place.
        train, val: class folders, tar files of images, or a list of videos. To evaluate only, the
            second is enough.
        processes: that train.
    """
    if not val:
        raise UserError(
            f"One's own data need --val-{kind.flag} as well (it may be the training folder again)."
        )
    # Seen from here, not from where a saved config is used again.
    val = os.path.abspath(os.path.expanduser(val))
    if train:
        train = os.path.abspath(os.path.expanduser(train))
    folders = kind.classes(train or val)
    _check_classes(kind, folders, train, val)
    cfg.model.num_classes = len(folders)
    data = cfg.dataloader
    if kind is IMAGES:
        # Photographs of one's own lie in all orientations; prediction turns them as well.
        data.train.mapper.exif_transpose = data.test.mapper.exif_transpose = True
    if train:
        data.train.dataset = _node(kind, train, "own_train")
        released = data.train.total_batch_size
        samples = data.train.get("repeats", 1)
        batch = custom_batch(kind.batch // samples, released, processes)
        epochs = EPOCHS_OF_FINE_TUNING if cfg.train.init_checkpoint else EPOCHS
        fit_schedule(cfg, kind.count(train), batch, epochs=epochs, released_batch=released)
    test = _node(kind, val, "own_val")
    if train:
        test.same_classes_as = train
    if kind is VIDEOS:
        test.clips = data.test.dataset.get("clips", 1)
    data.test.dataset = test
    for evaluator in data.evaluator:
        if "dataset_name" in evaluator:  # older configs have `video_views` there
            evaluator.dataset_name = "${dataloader.test.dataset.name}"
        if "classes" in evaluator:  # of a larger set, the first ones alone compete
            evaluator.classes = None
    logger.info("Own data with %d classes: %s", len(folders), some(folders, 20))


def _node(kind: _Kind, source: str, name: str) -> DictConfig:
    known = {kind.source: source, "name": name, "num_classes": "${model.num_classes}"}
    return L(kind.dataset)(**known, **dict.fromkeys(kind.more))


def _check_classes(kind: _Kind, folders: list[str], train: str | None, val: str) -> None:
    """The test data are looked at now: they are loaded only when the first evaluation is due."""
    if len(folders) < 2:
        folder = ", each in a folder of its own" if os.path.isdir(train or val) else ""
        raise UserError(
            f"{train or val} has the single class {folders[0]!r}: a classifier needs two or more"
            f"{folder}."
        )
    unknown = [name for name in kind.classes(val) if name not in set(folders)]
    if unknown:
        raise UserError(
            f"{val} has the classes {some(unknown, 20)}, which {train} does not have "
            f"({some(folders, 20)}): give both the same classes."
        )
