"""One's own data in one command: point any config at COCO files, folders of classes, or actions."""

import logging
from collections.abc import Mapping

from detectron2.config import LazyCall as L
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mvit_det.data.actions.mapper import ActionClipMapper
from mvit_det.data.custom.actions import ActionFiles, use_custom_actions
from mvit_det.data.custom.classes import IMAGES, VIDEOS, use_custom_classes
from mvit_det.data.custom.schedule import fit_schedule
from mvit_det.data.detection.annotations import check_coco_json
from mvit_det.data.detection.coco import class_names, coco_dataset, uses_rle
from mvit_det.errors import UserError

logger = logging.getLogger(__name__)


def use_custom_data(
    cfg: DictConfig,
    *,
    train_json: str | None = None,
    train_images: str | None = None,
    val_json: str | None = None,
    val_images: str | None = None,
    train_videos: str | None = None,
    val_videos: str | None = None,
    train_actions: str | None = None,
    val_actions: str | None = None,
    train_proposals: str | None = None,
    val_proposals: str | None = None,
    label_map: str | None = None,
    processes: int = 1,
) -> DictConfig:
    """Replace the data of a config, its number of classes, and its schedule.

    Args:
        cfg: any of ``configs/``; changed in place.
        train_json, val_json: COCO annotation files, for a detector. To evaluate only, the second is
            enough.
        train_images, val_images: the folders that their ``file_name`` entries are relative to. For
            a classifier of images: class folders, or tar files, as for `image_classes`.
        train_videos, val_videos: for a classifier of videos: class folders, or lists, as for
            `video_classes`. For a detector of actions: folders of videos, as for `action_clips`.
        train_actions, val_actions, train_proposals, val_proposals, label_map: for a detector of
            actions, see `use_custom_actions`.
        processes: that train (``--num-gpus`` times ``--num-machines``).

    Overrides on the command line are applied afterwards, so they win.
    """
    given = {
        "--train-json": train_json,
        "--val-json": val_json,
        "--train-images": train_images,
        "--val-images": val_images,
        "--train-videos": train_videos,
        "--val-videos": val_videos,
        "--train-actions": train_actions,
        "--val-actions": val_actions,
        "--train-proposals": train_proposals,
        "--val-proposals": val_proposals,
        "--label-map": label_map,
    }
    _check_kind(cfg, [flag for flag, path in given.items() if path])
    if _is_of_actions(cfg):
        train = ActionFiles(train_videos, train_actions, train_proposals)
        val = ActionFiles(val_videos, val_actions, val_proposals)
        use_custom_actions(cfg, train=train, val=val, label_map=label_map, processes=processes)
    elif train_videos or val_videos:
        use_custom_classes(cfg, VIDEOS, train=train_videos, val=val_videos, processes=processes)
    elif "roi_heads" not in cfg.model:
        use_custom_classes(cfg, IMAGES, train=train_images, val=val_images, processes=processes)
    else:
        _check_pairs(given)
        _use_custom_boxes(cfg, (train_json, train_images), (val_json, val_images), processes)
    for evaluator in cfg.dataloader.evaluator:
        if "dataset_name" in evaluator:
            evaluator.dataset_name = "own_val"
    return cfg


def _use_custom_boxes(
    cfg: DictConfig,
    train: tuple[str | None, str | None],
    val: tuple[str | None, str | None],
    processes: int,
) -> None:
    """The data, classes and schedule of a detector, by annotations and images."""
    data = cfg.dataloader
    names = class_names(train[0] or val[0])
    cfg.model.roi_heads.num_classes = len(names)
    if train[0]:
        data.train.dataset = L(coco_dataset)(
            name="own_train",
            json_file=train[0],
            image_root=train[1],
            num_classes="${model.roi_heads.num_classes}",
        )
        if uses_rle(train[0]):
            data.train.mapper.instance_mask_format = "bitmask"
        # Two images per process; 36 epochs as released.
        num_images = len(check_coco_json(train[0])["images"])
        fit_schedule(cfg, num_images, 2 * processes, epochs=36, released_batch=64)
    data.test.dataset = L(coco_dataset)(
        name="own_val",
        json_file=val[0],
        image_root=val[1],
        filter_empty=False,
        num_classes="${model.roi_heads.num_classes}",
    )
    if train[0]:
        data.test.dataset.same_classes_as = train[0]
    logger.info("Own data with %d classes: %s", len(names), ", ".join(names))


def _is_of_actions(cfg: DictConfig) -> bool:
    """Whether the config is of a detector of actions; a saved config has the path of the mapper."""
    mapper = OmegaConf.select(cfg, "dataloader.test.mapper._target_")
    return (get_object(mapper) if isinstance(mapper, str) else mapper) is ActionClipMapper


def _check_kind(cfg: DictConfig, flags: list[str]) -> None:
    """Refuse flags that are for another kind of model."""
    more: tuple[str, ...] = ()
    if "roi_heads" in cfg.model:
        what, kinds = "detector, which takes annotations and images", ("json", "images")
    elif _is_of_actions(cfg):
        what, kinds = "detector of actions, which takes videos and csv files", ("videos", "actions")
        more = ("proposals", "label-map")
    elif len(cfg.model.backbone.input_size) == 3:
        what, kinds = "classifier of videos, which takes folders of classes or lists", ("videos",)
    else:
        what, kinds = "classifier of images, which takes folders of classes", ("images",)
    wrong = [flag for flag in flags if not flag.endswith((*kinds, *more))]
    if wrong:
        right = " and ".join(f"--{split}-{kind}" for split in ("train", "val") for kind in kinds)
        raise UserError(
            f"{' and '.join(wrong)} cannot be used here: this config is a {what} by {right} alone."
        )


def _check_pairs(given: Mapping[str, str | None]) -> None:
    for kind in ("train", "val"):
        pair = [f"--{kind}-json", f"--{kind}-images"]
        absent = [flag for flag in pair if not given[flag]]
        if len(absent) == 1 or (absent and kind == "val"):
            raise UserError(
                f"One's own data need {' and '.join(pair)} together: {' and '.join(absent)} "
                "is missing (validation may be the training files again)."
            )
