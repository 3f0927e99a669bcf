"""One's own actions in one command: point any config of actions at videos and csv files as AVA's."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from mvit_det.ava_files import BoxTable, read_boxes, read_label_map
from mvit_det.data.actions.datasets import action_clips
from mvit_det.data.actions.key_frames import seconds_of
from mvit_det.data.custom.schedule import custom_batch, fit_schedule
from mvit_det.errors import UserError, some

logger = logging.getLogger(__name__)

EPOCHS = 30  # paper, appendix B.6
CLIPS = 8  # per process and iteration: what a GPU of 8 GB holds of the smallest model
# The model has an output for each id up to the largest one. Beyond this it is no numbering.
LARGEST_ID = 10_000


@dataclass(frozen=True)
class ActionFiles:
    """What there is to train or to test on; None where it was not given.

    Attributes:
        videos: a folder of videos, or of folders of frames.
        actions: a csv file of boxes with actions, at seconds of these videos.
        proposals: a csv file of boxes that a detector found. In training they come to the annotated
            boxes, in testing they take their place.
    """

    videos: str | None = None
    actions: str | None = None
    proposals: str | None = None


def use_custom_actions(
    cfg: DictConfig,
    *,
    train: ActionFiles,
    val: ActionFiles,
    label_map: str | None = None,
    processes: int = 1,
) -> None:
    """Replace the data of a config of actions, its number of classes, and its schedule.

    Args:
        cfg: changed in place.
        train, val: to evaluate only, the second is enough.
        label_map: names of the actions that are evaluated; without it, all that are annotated.
        processes: that train.
    """
    _check_given(train, "train")
    _check_given(val, "val")
    train, val, label_map = _absolute(train), _absolute(val), _path(label_map)
    names = read_label_map(label_map) if label_map else None
    training, testing = (_tables(files) if files.actions else {} for files in (train, val))
    classes = max(names) if names else _largest_id(training or testing)
    cfg.model.num_classes = classes
    data, shared = cfg.dataloader, dict(label_map=label_map, start=0.0, fps=None)
    if train.actions:
        _check_same_actions(training, val.actions, testing[val.actions], names)
        data.train.dataset = L(action_clips)(
            **_of(train), **shared, name="own_train", num_classes="${model.num_classes}"
        )
        released = data.train.total_batch_size
        batch = custom_batch(CLIPS, released, processes)
        clips = len(set().union(*map(seconds_of, training.values())))
        fit_schedule(cfg, clips, batch, epochs=EPOCHS, released_batch=released)
    data.test.dataset = L(action_clips)(
        **_of(val),
        **shared,
        name="own_val",
        num_classes="${model.num_classes}",
        annotated_boxes=False,  # where there are no others they are used
    )
    known = list(names.values()) if names else range(1, classes + 1)
    logger.info("Own data with %d actions: %s", len(known), some(known, 20))
    if not val.proposals:
        logger.info("Tested in the annotated boxes; --val-proposals gives those of a detector.")


def _of(files: ActionFiles) -> dict[str, Any]:
    """Arguments of `action_clips`; the score can be overridden on the command line."""
    proposals = [files.proposals] if files.proposals else []
    return dict(videos=files.videos, actions=files.actions, proposals=proposals, min_score=0.8)


def _check_given(files: ActionFiles, split: str) -> None:
    """Videos and actions come together; those to test on are always needed."""
    pair = {f"--{split}-videos": files.videos, f"--{split}-actions": files.actions}
    absent = [flag for flag, path in pair.items() if not path]
    if absent and (split == "val" or len(absent) == 1 or files.proposals):
        hint = " (they may be those to train on again)" if split == "val" else ""
        raise UserError(
            f"One's own actions need {' and '.join(pair)} together{hint}: {' and '.join(absent)} is "
            "missing."
        )


def _path(given: str | None) -> str | None:
    """Seen from here, not from where a saved config is used again."""
    return given and os.path.abspath(os.path.expanduser(given))


def _absolute(files: ActionFiles) -> ActionFiles:
    return ActionFiles(_path(files.videos), _path(files.actions), _path(files.proposals))


def _tables(files: ActionFiles) -> dict[str, BoxTable]:
    tables = {files.actions: read_boxes(files.actions, "actions")}
    if files.proposals:
        tables[files.proposals] = read_boxes(files.proposals, "proposals")
    return tables


def _largest_id(tables: Mapping[str, BoxTable]) -> int:
    largest = 0
    for path, table in tables.items():
        if not len(table):
            continue
        row = int(table.action.argmax())
        largest = max(largest, int(table.action[row]))
        if largest > LARGEST_ID:
            raise UserError(
                f"{path}, line {table.line[row]}, has action={largest}: number the actions 1, 2, ..., "
                f"{LARGEST_ID} at most, in all files alike."
            )
    if not largest:
        raise UserError(
            f"{some(tables)} has no box with an action: write rows "
            "video,second,x1,y1,x2,y2,action,person."
        )
    return largest


def _check_same_actions(
    training: Mapping[str, BoxTable], path: str, table: BoxTable, names: Mapping[int, str] | None
) -> None:
    """What is tested must have been seen; actions that the label map lacks are not tested.

    Args:
        path, table: of the actions to test on.
    """
    seen = set(np.concatenate([table.action for table in training.values()]).tolist())
    tested = set(table.action.tolist())
    unseen = sorted((tested & set(names) if names else tested) - seen)
    if unseen:
        shown = [f"{number} ({names[number]})" if names else number for number in unseen]
        line = table.line[np.isin(table.action, unseen)][0]
        raise UserError(
            f"{path}, line {line}, has an action that {some(training)} does not have "
            f"({some(shown, 20)}): annotate it for training as well, or give a --label-map without it."
        )
