"""Custom data for action detection: videos and csv files in AVA's format, for any such config."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from detectron2.config import LazyCall as L
from omegaconf import DictConfig, OmegaConf

from mvit_det.ava_files import BoxTable, read_boxes, read_label_map
from mvit_det.data.actions.datasets import action_clips
from mvit_det.data.actions.key_frames import seconds_of
from mvit_det.data.custom.categories import trained_config
from mvit_det.data.custom.files import CustomFiles
from mvit_det.data.custom.schedule import fit_schedule
from mvit_det.errors import UserError, shorten_list

logger = logging.getLogger(__name__)

EPOCHS = 30  # paper, appendix B.6
CLIPS = 8  # per process and iteration, as many as an 8 GB GPU holds for the smallest model
# The model has an output for each id up to the largest; a larger id is assumed to be a mistake.
LARGEST_ID = 10_000


def use_custom_actions(cfg: DictConfig, files: CustomFiles, processes: int = 1) -> None:
    """Replace the data, the number of classes and the schedule of an action detection config.

    Without training data, the number of classes and the label map, if none is given, are those of
    the run that trained the weights (`trained_config`), if that is known.

    Args:
        cfg: config of an action detector, changed in place.
        files: per split a folder of videos (or of folders of frames) and a csv file of annotated
            boxes. Optional: a csv file of detected boxes, which are added to the annotated boxes
            in training and replace them in testing, and a label map of the actions to evaluate
            (default: all that are annotated).
        processes: number of training processes, which share the batch.

    Raises:
        UserError: a file cannot be read, or has no action or an action id above `LARGEST_ID`.
    """
    assert files.val_actions is not None  # checked by `CustomFiles.check`
    training, testing = (_read_tables(files, split) for split in ("train", "val"))
    run = None if training else trained_config(cfg)
    if run and not files.label_map:
        trained_map = OmegaConf.select(run, "dataloader.test.dataset.label_map")
        files = replace(files, label_map=trained_map)
    names = read_label_map(files.label_map) if files.label_map else None
    classes = OmegaConf.select(run, "model.num_classes") if run else None
    classes = classes or (max(names) if names else _largest_id(training or testing))
    if classes > LARGEST_ID:
        raise UserError(
            f"The label map {files.label_map} has the id {classes}: number the actions 1, 2, ..., "
            f"{LARGEST_ID} at most, since the model has an output for each."
        )
    cfg.model.num_classes = classes
    data = cfg.dataloader
    if training:
        clips = len(set().union(*map(seconds_of, training.values())))
        fit_schedule(cfg, clips, CLIPS, processes, epochs=EPOCHS)
        data.train.dataset = _dataset_node(files, "train")
    # without proposals, `action_clips` falls back to the annotated boxes
    data.test.dataset = _dataset_node(files, "val", annotated_boxes=False)
    known = list(names.values()) if names else range(1, classes + 1)
    logger.info("Custom data with %d actions: %s", len(known), shorten_list(known, 20))
    if not files.val_proposals:
        logger.info("Tested on the annotated boxes; use --val-proposals for those of a detector.")


def _dataset_node(files: CustomFiles, split: str, **options: Any) -> DictConfig:
    proposals = getattr(files, f"{split}_proposals")
    return L(action_clips)(
        videos=getattr(files, f"{split}_videos"),
        actions=getattr(files, f"{split}_actions"),
        proposals=[proposals] if proposals else [],
        min_score=0.8,  # can be overridden on the command line, as start and fps can
        label_map=files.label_map,
        start=0.0,
        fps=None,
        name=f"custom_{split}",
        num_classes="${model.num_classes}",
        **options,
    )


def _read_tables(files: CustomFiles, split: str) -> dict[str, BoxTable]:
    """Read the csv files of a split; returns {path: table}."""
    paths = {kind: getattr(files, f"{split}_{kind}") for kind in ("actions", "proposals")}
    return {path: read_boxes(path, kind) for kind, path in paths.items() if path}


def _largest_id(tables: Mapping[str, BoxTable]) -> int:
    largest = 0
    for path, table in tables.items():
        if not len(table):
            continue
        row = int(table.action.argmax())
        largest = max(largest, int(table.action[row]))
        if largest > LARGEST_ID:
            raise UserError(
                f"{path}, line {table.line[row]}, has action={largest}: number the actions 1, 2, "
                f"..., {LARGEST_ID} at most, with the same numbers in all files."
            )
    if not largest:
        raise UserError(
            f"{shorten_list(tables)} has no box with an action: write rows "
            "video,second,x1,y1,x2,y2,action,person."
        )
    return largest
