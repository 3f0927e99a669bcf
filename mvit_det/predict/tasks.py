"""What a config's model is for, and what its classes are called."""

import logging
import os
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from mvit_det.ava_files import read_label_map
from mvit_det.data.custom.categories import Category, config_categories, given_categories, numbered
from mvit_det.errors import UserError, some
from mvit_det.predict.actions import ActionDetection, is_of_actions
from mvit_det.predict.classification import Classification
from mvit_det.predict.clips import ClipClassification
from mvit_det.predict.detection import Detection

logger = logging.getLogger(__name__)

Task = Detection | Classification | ActionDetection
Names = Sequence[str] | str | os.PathLike


def task_of(cfg: DictConfig, score_threshold: float) -> Task:
    """What the config's test mapper prepares pictures or videos for."""
    mapper = OmegaConf.select(cfg, "dataloader.test.mapper") or {}
    if is_of_actions(mapper):
        return ActionDetection.of_config(cfg, score_threshold)
    if "sampling" in mapper and "transform" in mapper:
        return ClipClassification.of_loader(cfg.dataloader.test)
    if "transform" in mapper:
        return Classification.of_mapper(mapper)
    if "augmentations" in mapper and "image_format" in mapper:
        return Detection.of_mapper(mapper, score_threshold)
    raise UserError(
        "This config has no dataloader.test.mapper with augmentations and image_format (of a "
        "detector), transform (of a classifier) or sampling and transform (of a classifier of clips, "
        "or with ActionClipMapper of an action detector), which tell how pictures are prepared for "
        "the model: add it."
    )


def categories_of(cfg: DictConfig, task: Task, class_names: Names | None) -> list[Category]:
    """The classes of the model; numbers for names where nothing tells them."""
    count = OmegaConf.select(cfg, task.num_classes_key)
    known = config_categories(cfg) if class_names is None else _given(task, class_names)
    if known is not None and isinstance(task, ActionDetection):
        strays = [category["id"] for category in known if not 1 <= category["id"] <= count]
        if strays:
            raise UserError(
                f"Actions with the ids {some(strays)} were named, but the model has {count} actions, "
                "whose ids are 1 and following: correct the label map, or model.num_classes."
            )
        if class_names is None or isinstance(class_names, (str, os.PathLike)):
            return known  # a label map may leave actions out, a list may not
    if known is not None and count in (None, len(known)):
        return known
    if class_names is not None:
        raise UserError(f"{len(known)} class names were given, but the model has {count} classes.")
    if count is None:
        raise UserError("Nothing tells the classes of this model: give --class-names.")
    logger.warning("The names of the classes are not known: use --class-names to give them.")
    return numbered([f"class {number}" for number in range(1, count + 1)])


def _given(task: Task, class_names: Names) -> list[Category]:
    is_file = isinstance(class_names, (str, os.PathLike))
    if isinstance(task, ActionDetection) and is_file and not str(class_names).endswith(".json"):
        names = read_label_map(class_names)
        return [{"id": number, "name": name} for number, name in names.items()]
    return given_categories(class_names)
