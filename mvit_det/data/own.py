"""One's own data in one command: point any detection config at COCO files and image folders."""

import logging

from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from mvit_det.data.annotations import check_coco_json
from mvit_det.data.coco import class_names, coco_dataset, uses_rle
from mvit_det.errors import UserError

logger = logging.getLogger(__name__)

# The released recipe: 36 epochs at 64 images per iteration.
EPOCHS, RELEASED_BATCH = 36, 64
MIN_ITERATIONS = 500
EVALUATIONS = 10


def use_own_data(
    cfg: DictConfig,
    *,
    train_json: str | None,
    train_images: str | None,
    val_json: str | None,
    val_images: str | None,
    processes: int = 1,
) -> DictConfig:
    """Replace the data of a detection config, its number of classes, and its schedule.

    Args:
        cfg: any of ``configs/``; changed in place.
        train_json, val_json: COCO annotation files. To evaluate only, the second is enough.
        train_images, val_images: the folders that their ``file_name`` entries are relative to.
        processes: that train (``--num-gpus`` times ``--num-machines``).

    Overrides on the command line are applied afterwards, so they win.
    """
    _check_pairs(train_json, train_images, val_json, val_images)
    data = cfg.dataloader
    names = class_names(train_json or val_json)
    cfg.model.roi_heads.num_classes = len(names)
    if train_json:
        data.train.dataset = L(coco_dataset)(
            name="own_train",
            json_file=train_json,
            image_root=train_images,
            num_classes="${model.roi_heads.num_classes}",
        )
        if uses_rle(train_json):
            data.train.mapper.instance_mask_format = "bitmask"
        _fit_schedule(cfg, len(check_coco_json(train_json)["images"]), processes)
    data.test.dataset = L(coco_dataset)(
        name="own_val",
        json_file=val_json,
        image_root=val_images,
        filter_empty=False,
        num_classes="${model.roi_heads.num_classes}",
    )
    if train_json:
        data.test.dataset.same_classes_as = train_json
    for evaluator in data.evaluator:
        if "dataset_name" in evaluator:
            evaluator.dataset_name = "own_val"
    logger.info("Own data with %d classes: %s", len(names), ", ".join(names))
    return cfg


def _check_pairs(train_json, train_images, val_json, val_images) -> None:
    given = {
        "--train-json": train_json,
        "--train-images": train_images,
        "--val-json": val_json,
        "--val-images": val_images,
    }
    for kind in ("train", "val"):
        pair = [f"--{kind}-json", f"--{kind}-images"]
        absent = [flag for flag in pair if not given[flag]]
        if len(absent) == 1 or (absent and kind == "val"):
            raise UserError(
                f"One's own data need {' and '.join(pair)} together: {' and '.join(absent)} "
                "is missing (validation may be the training files again)."
            )


def _fit_schedule(cfg: DictConfig, num_images: int, processes: int) -> None:
    """Scale the released COCO schedule to the size of the data and of the machine.

    Two images per process, 36 epochs (but at least 500 iterations). The learning rate falls with
    the square root of the batch size, the usual rule for Adam.
    """
    batch = 2 * processes
    iterations = max(MIN_ITERATIONS, EPOCHS * num_images // batch)
    period = max(1, iterations // EVALUATIONS)
    cfg.dataloader.train.total_batch_size = batch
    cfg.optimizer.lr = round(cfg.optimizer.lr * (batch / RELEASED_BATCH) ** 0.5, 8)
    cfg.train.max_iter = iterations
    cfg.train.eval_period = period
    cfg.train.checkpointer.period = period
    cfg.train.checkpointer.max_to_keep = 3
    logger.info(
        "Schedule for %d images: train.max_iter=%d dataloader.train.total_batch_size=%d "
        "optimizer.lr=%.3g train.eval_period=%d (override any of them)",
        num_images,
        iterations,
        batch,
        cfg.optimizer.lr,
        period,
    )
