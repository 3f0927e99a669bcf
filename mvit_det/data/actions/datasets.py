"""Key frames of videos with boxes of people and their actions, from files in AVA's format.

How faults are handled:

* Refused, in one sentence with file and line: a row that cannot be read (see
  `mvit_det.ava_files`), boxes in pixels or as width and height, an action that the model has no
  output for, a file of another kind, a file given twice, key frames before ``start`` or (in most
  videos) after the end, more than ``max_missing`` of the videos absent, no key frame left.
* Dropped and logged: rows whose box has no area or is outside the frame, and key frames of
  absent videos. A box that extends beyond the frame is clipped to it.
* Kept and logged: rows that repeat another, key frames annotated in two files, and key frames with
  proposals but no annotation (their people count as doing nothing).
"""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from torch.utils.data import Dataset

from mvit_det.ava_files import BoxTable, read_boxes, read_excluded
from mvit_det.data.actions.key_frames import (
    KeyFrames,
    key_frames_of,
    report_repeated,
    seconds_of,
    valid_rows,
    videos_with_rows,
)
from mvit_det.data.actions.labels import action_names, evaluated_actions
from mvit_det.data.actions.videos import check_times, find_clips, read_frame_lists
from mvit_det.data.catalog import OWNER, free_name
from mvit_det.data.custom.categories import Category, Node, class_source
from mvit_det.data.packed_text import PackedText
from mvit_det.data.paths import Paths, resolve_path, resolve_paths
from mvit_det.data.video.frame_folders import check_frame_folders
from mvit_det.errors import UserError, check_number, check_positive, check_range, shorten_list

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class ActionClips(Dataset):
    """Key frames as dicts, in the order of video and second.

    An item has the keys

    * "file_name": a video file or a folder of frames;
    * "video", "second": the key frame as the csv files name it;
    * "time": the key frame in seconds from the beginning of the file;
    * "boxes": float32 (N, 4), x1, y1, x2, y2 as fractions of the frame (0..1), N >= 1;
    * "labels": float32 (N, num_classes), 0 or 1; column 0 is the action with id 1. A row is all 0
      where no action is known for the box;
    * "fps": frames per second, if given.

    Attributes:
        frames: the key frames.
        paths: per video of ``frames``, the path of its file or folder.
        missing: names of the videos that the csv files have and the folder lacks.
        num_classes: number of actions, as for `action_clips`.
        start: second of the movie at which the files begin, as for `action_clips`.
        fps: frames per second of folders of frames; None: 30.
    """

    frames: KeyFrames
    paths: Sequence[str]
    missing: list[str]
    num_classes: int
    start: float
    fps: float | None

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        frames = self.frames
        video, second = int(frames.video[index]), float(frames.second[index])
        boxes = slice(int(frames.start[index]), int(frames.start[index + 1]))
        item = {
            "file_name": self.paths[video],
            "video": frames.videos[video],
            "second": second,
            "time": second - self.start,
            "boxes": frames.box[boxes].copy(),
            "labels": frames.labels(boxes, self.num_classes),
        }
        return item if self.fps is None else dict(item, fps=self.fps)


def _categories(node: Node) -> list[Category]:
    """List the evaluated actions; their ids may have gaps, as in AVA (60 of 80)."""
    names = action_names(node.get("label_map"), node.get("num_classes", 80))
    return [{"id": number, "name": name} for number, name in names.items()]


@class_source(_categories)
def action_clips(
    videos: str | os.PathLike,
    *,
    actions: Paths,
    name: str | None = None,
    num_classes: int = 80,
    proposals: Paths = (),
    min_score: float = 0.8,
    annotated_boxes: bool = True,
    excluded: str | os.PathLike | None = None,
    label_map: str | os.PathLike | None = None,
    frame_lists: Paths | None = None,
    seconds: tuple[float, float] | None = None,
    start: float = 0.0,
    fps: float | None = None,
    max_missing: float = 0.1,
) -> ActionClips:
    """Load one item per second of a video that has at least one box.

    Relative paths start from the working directory, or else from the datasets folder.

    Args:
        videos: folder with a file <video>.mp4, .mkv, ... or a folder of frames <video> for each
            video, at most two folders deep.
        actions: csv files of annotated boxes: see `read_boxes`.
        name: entry of Detectron2's MetadataCatalog for what an evaluator needs:
            ``ground_truth`` (the files of ``actions``), ``excluded``, ``label_map``, ``actions``
            ({id: name} of the evaluated ones), ``num_classes``, ``seconds``, ``missing_videos``.
            None: no entry.
        num_classes: number of model outputs, for the action ids 1, 2, ..., num_classes.
        proposals: csv files of person boxes; those with a score below ``min_score`` are left out.
            In training they are added to the annotated boxes; a box without a known action is an
            example of no action.
        min_score: lowest score of a proposal that is used.
        annotated_boxes: False in testing, where people are not known beforehand: boxes are then the
            proposals alone, or the annotated boxes where no proposals are given.
        excluded: csv file of key frames that are not evaluated. They stay in the data, as in
            PySlowFast.
        label_map: names of the evaluated actions (AVA: 60, with ids up to 80); the others are
            trained, but not evaluated. None: all are evaluated.
        frame_lists: PySlowFast's frame lists, for folders of frames with names other than the
            videos'.
        seconds: first and last second to use; (902, 1798) for AVA. None: all.
        start: second of the movie at which the files begin: 900 for AVA's 15-minute parts, 0 for
            whole movies and custom videos.
        fps: frames per second of folders of frames; None: 30.
        max_missing: largest share (0..1) of absent videos that is left out with a warning.

    Raises:
        UserError: an input is refused; the module's docstring lists the reasons.
    """
    _check_numbers(seconds, fps, min_score=min_score, start=start, max_missing=max_missing)
    truth = resolve_paths(actions, "The file of actions")
    proposal_files = resolve_paths(proposals, "The file of proposals")
    _check_files(truth, proposal_files)
    names_file = str(resolve_path(label_map, "The label map")) if label_map else None
    if excluded:
        excluded = str(resolve_path(excluded, "The file of excluded seconds"))
        read_excluded(excluded)  # a faulty file is refused now, not at the first evaluation
    annotated = {path: read_boxes(path, "actions") for path in truth}
    proposed = {path: read_boxes(path, "proposals") for path in proposal_files}
    evaluated = evaluated_actions(names_file, annotated, num_classes)
    _check_consistency(annotated, proposed, annotated_boxes)
    tables = _choose_boxes(annotated, proposed, num_classes, min_score, annotated_boxes)
    frames = key_frames_of(list(tables.values()), num_classes)
    frames = _select_seconds(frames, seconds, list(tables))
    folders = read_frame_lists(resolve_paths(frame_lists or (), "The frame list"))
    found = find_clips(videos, frames.videos, folders, max_missing, list(tables))
    missing = [video for video, path in zip(frames.videos, found) if path is None]
    frames = frames.select(np.array([path is not None for path in found])[frames.video])
    paths = [path for path in found if path is not None]
    check_times(paths, frames.times(start), start=start, fps=fps)
    check_frame_folders(shorten_list(tables), paths.__getitem__, len(paths))
    logger.info(
        "%s: %d key frames of %d videos with %d boxes, %d with an action.",
        *(shorten_list(tables), len(frames), len(paths)),
        *(len(frames.box), frames.actions.any(axis=1).sum()),
    )
    if name is not None:
        free_name(name)
        MetadataCatalog.get(name).set(
            ground_truth=truth,
            excluded=excluded,
            label_map=names_file,
            actions=evaluated,
            num_classes=num_classes,
            seconds=None if seconds is None else tuple(seconds),
            missing_videos=missing,
            registered_by=OWNER,
        )
    frames = replace(frames, videos=PackedText.of(frames.videos))  # memory that workers share
    return ActionClips(frames, PackedText.of(paths), missing, num_classes, start, fps)


def _choose_boxes(
    annotated: Mapping[str, BoxTable],
    proposed: Mapping[str, BoxTable],
    num_classes: int,
    min_score: float,
    annotated_boxes: bool,
) -> dict[str, BoxTable]:
    """Choose the boxes to train or test on; returns {path: table}."""
    tables = {path: valid_rows(path, table, num_classes) for path, table in annotated.items()}
    if proposed and not annotated_boxes:
        tables = {}
    for path, table in proposed.items():
        table = valid_rows(path, table, num_classes)
        kept = table.score >= min_score
        if len(table) and not kept.any():
            logger.warning(
                "%s: no box has a score of %g or more (the highest is %g): lower min_score.",
                *(path, min_score, table.score.max()),
            )
        tables[path] = table.rows(kept)
    return tables


def _check_consistency(
    annotated: Mapping[str, BoxTable], proposed: Mapping[str, BoxTable], is_train: bool
) -> None:
    """Refuse proposals of other videos; log repeated key frames and those without annotation."""
    seconds: set[tuple[str, float]] = set()
    for path, table in annotated.items():
        report_repeated(path, table)
        current = seconds_of(table)
        repeated = seconds & current
        if repeated:
            logger.warning(
                "%s: %d key frames are annotated in another file as well; all boxes are used: %s",
                *(path, len(repeated), shorten_list(sorted(repeated), 3)),
            )
        seconds |= current
    if not proposed and not is_train:
        logger.info(
            "%s: no proposals are given; the annotated boxes are used.", shorten_list(annotated)
        )
    if not proposed:
        return
    known = {video for video, _ in seconds}
    if not any(known & set(videos_with_rows(table)) for table in proposed.values()):
        raise UserError(
            f"{shorten_list(annotated)} and {shorten_list(proposed)} have no video in common: give "
            "proposals of the annotated videos."
        )
    if is_train:
        unknown = set().union(*map(seconds_of, proposed.values())) - seconds
        if unknown:
            logger.warning(
                "%s: %d key frames are not annotated in %s; their boxes train as negatives: %s",
                *(shorten_list(proposed), len(unknown)),
                *(shorten_list(annotated), shorten_list(sorted(unknown), 3)),
            )


def _select_seconds(
    frames: KeyFrames, seconds: tuple[float, float] | None, sources: Sequence[str]
) -> KeyFrames:
    if not len(frames):
        raise UserError(
            f"{shorten_list(sources)} leave no key frame with a box: the log has the reasons why "
            "rows were dropped; correct them, or lower min_score."
        )
    if seconds is None:
        return frames
    kept = (frames.second >= seconds[0]) & (frames.second <= seconds[1])
    if not kept.any():
        raise UserError(
            f"{shorten_list(sources)} have key frames from second {frames.second.min():g} to "
            f"{frames.second.max():g}, but none within seconds=({seconds[0]:g}, "
            f"{seconds[1]:g}): set seconds=null to use all."
        )
    return frames.select(kept)


def _check_numbers(seconds: tuple[float, float] | None, fps: float | None, **values: float) -> None:
    check_number("action_clips", "a number", math.isfinite, **values)
    if fps is not None:
        check_positive("action_clips", fps=fps)
    if seconds is not None:
        check_range("action_clips", seconds=seconds)


def _check_files(truth: Sequence[str], proposals: Sequence[str]) -> None:
    if not truth:
        raise UserError("actions=[] of action_clips must name at least one csv file.")
    paths = [*truth, *proposals]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise UserError(f"The file {shorten_list(twice)} is given twice: name it once.")
