"""Custom data for detection: COCO files and images, for any detection config."""

import logging

from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from mvit_det.data.custom.files import CustomFiles
from mvit_det.data.custom.schedule import CUSTOM_TRAIN, fit_schedule
from mvit_det.data.detection.annotations import check_coco_json
from mvit_det.data.detection.coco import class_names, coco_dataset, has_masks, uses_rle

logger = logging.getLogger(__name__)

EPOCHS = 36
IMAGES = 2  # per process and iteration


def use_custom_boxes(cfg: DictConfig, files: CustomFiles, processes: int = 1) -> None:
    """Replace the data, the number of classes and the schedule of a detection config.

    Args:
        cfg: config of a detector, changed in place.
        files: ``train_json``, ``train_images`` (both optional), ``val_json`` and ``val_images``:
            COCO files, and the folders that their ``file_name`` entries are relative to.
        processes: number of training processes, which share the batch.

    Raises:
        UserError: an annotation file cannot be used.
    """
    data = cfg.dataloader
    assert files.val_json  # see `CustomFiles.check`
    names = class_names(files.train_json or files.val_json)
    cfg.model.roi_heads.num_classes = len(names)
    masks = cfg.model.get("masks", True) and cfg.model.roi_heads.get("mask_head")
    if masks and not has_masks(files.train_json or files.val_json):
        cfg.model.masks = False
        logger.info(
            "%s has no masks ('segmentation'): the model detects boxes alone (model.masks=false).",
            files.train_json or files.val_json,
        )
    shared = dict(
        num_classes="${model.roi_heads.num_classes}",
        masks="${oc.select:model.masks,true}",
        max_detections="${oc.select:model.max_detections,null}",
    )
    if files.train_json:
        count = len(check_coco_json(files.train_json)["images"])
        fit_schedule(cfg, count, IMAGES, processes, epochs=EPOCHS)
        data.train.dataset = L(coco_dataset)(
            name=CUSTOM_TRAIN,
            json_file=files.train_json,
            image_root=files.train_images,
            **shared,
        )
        if uses_rle(files.train_json):
            data.train.mapper.instance_mask_format = "bitmask"
    data.test.dataset = L(coco_dataset)(
        name="custom_val",
        json_file=files.val_json,
        image_root=files.val_images,
        filter_empty=False,
        **shared,
    )
    if files.train_json:
        data.test.dataset.same_classes_as = files.train_json
    logger.info("Custom data with %d classes: %s", len(names), ", ".join(names))
