"""Custom data of classifiers, common to images and videos."""

import logging
import os
from collections.abc import Callable
from typing import Any

from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from mvit_det.data.class_labels import match_classes
from mvit_det.data.custom.categories import (
    categories_from_config,
    categories_to_config,
    class_folders_of,
    trained_config,
)
from mvit_det.data.custom.schedule import CUSTOM_TRAIN, fit_schedule
from mvit_det.errors import UserError, shorten_list

logger = logging.getLogger(__name__)

# From scratch; and fine-tuning from a checkpoint (paper, appendix B.2).
EPOCHS, EPOCHS_OF_FINE_TUNING = 100, 30


def use_custom_classes(
    cfg: DictConfig,
    train: str | None,
    val: str,
    processes: int,
    *,
    dataset: Callable,
    source: str,
    class_folders: Callable[[str], list[str]],
    count: Callable[[str], int],
    samples: int,
    **more: Any,
) -> None:
    """Replace the data, the number of classes and the schedule of a classification config.

    The classes are those of ``train``; without it, those of the run that trained the weights
    (`trained_config`), if they are known.

    Args:
        cfg: config of a classifier, changed in place.
        train: class folders, tar files of images, or a list of videos; None: evaluation only.
        val: the same for evaluation.
        processes: number of training processes, which share the batch.
        dataset: dataset function of the task.
        source: name of its argument for the folder or list.
        class_folders: returns the classes of a folder or list.
        count: returns its number of samples.
        samples: per process and iteration: as many as fit an 8 GB GPU for the smaller models.
        more: arguments of ``dataset`` that can be overridden on the command line.

    Raises:
        UserError: there is only one class, or ``val`` has a class that the others lack.
    """
    run = None if train else trained_config(cfg)
    known = categories_from_config(run) if run else None
    folders = class_folders_of(known) if known else class_folders(train or val)
    if len(folders) < 2:
        folder = ", each in a separate folder" if os.path.isdir(train or val) else ""
        raise UserError(
            f"{train or val} has the single class {folders[0]!r}: a classifier needs two or more"
            f"{folder}."
        )
    # Checked now, since the test data are loaded only for the first evaluation.
    tested = class_folders(val)
    numbers = known and tested == [str(number) for number in range(len(tested))]
    labels = range(len(tested)) if numbers else match_classes(tested, folders)
    unknown = [name for name, k in zip(tested, labels) if k is None or k >= len(folders)]
    if unknown:
        raise UserError(
            f"{val} has the classes {shorten_list(unknown, 20)}, which {train or 'the run'} does "
            f"not have ({shorten_list(folders, 20)}): give both the same classes."
        )
    cfg.categories = None
    if known:
        cfg.categories, more["classes"] = categories_to_config(known), "${categories}"
    if not train and not known:
        logger.warning(
            "The classes are taken from %s, since no config.yaml of a run is next to the weights: "
            "they must have been trained on the same classes in the same order.",
            val,
        )
    cfg.model.num_classes = len(folders)
    data, more = cfg.dataloader, dict(num_classes="${model.num_classes}", **more)
    if train:
        epochs = EPOCHS_OF_FINE_TUNING if cfg.train.init_checkpoint else EPOCHS
        samples //= data.train.get("repeats", 1)
        fit_schedule(cfg, count(train), samples, processes, epochs=epochs)
        data.train.dataset = L(dataset)(**{source: train}, name=CUSTOM_TRAIN, **more)
        more["same_classes_as"] = train
    if "clips" in data.test.dataset:  # of each video
        more["clips"] = data.test.dataset.clips
    data.test.dataset = L(dataset)(**{source: val}, name="custom_val", **more)
    for evaluator in data.evaluator:
        if "classes" in evaluator:  # a subset of the released data set's classes
            evaluator.classes = None
    logger.info("Custom data with %d classes: %s", len(folders), shorten_list(folders, 20))
