"""Read ground truth of actions, and detections, from files."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mvit_det.ava_files import PER_ROW, BoxTable, read_boxes, read_excluded
from mvit_det.errors import UserError, shorten_list

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ActionTruth:
    """Annotated boxes of the key frames of a test set.

    Attributes:
        table: the boxes of all files.
        files: their names, for messages.
        excluded: key frames (video, second) that are not evaluated.
        seconds: the first and the last second that are evaluated; the table contains no other ones.
    """

    table: BoxTable
    files: str
    excluded: Collection[tuple[str, float]]
    seconds: tuple[float, float] | None

    def check_names(self, names: Mapping[int, str]) -> None:
        """Check that a box with an evaluated action is left at a key frame that is not excluded.

        Args:
            names: of the evaluated actions, by id.

        Raises:
            UserError: no such box is left.
        """
        if not np.isin(self.table.action, list(names)).any():
            raise UserError(
                f"{self.files}: none of the {len(self.table)} boxes has one of the {len(names)} "
                f"evaluated actions ({shorten_list(names)}): give the ground truth that belongs to "
                "the label map."
            )
        if not self.key_frames(names):
            raise UserError(
                f"{self.files}: all key frames with evaluated actions are excluded, so there is "
                "nothing to evaluate against: give the excluded key frames of this dataset."
            )

    def key_frames(self, names: Mapping[int, str]) -> set[tuple[str, float]]:
        """Return the key frames (video, second) that have a box with an evaluated action."""
        counts = np.isin(self.table.action, list(names))
        videos = [self.table.videos[index] for index in self.table.video[counts]]
        return set(zip(videos, self.table.second[counts].tolist())).difference(self.excluded)

    def at(self, video: str, second: float) -> BoxTable:
        """Return the boxes of one key frame.

        Raises:
            ValueError: the table has no box of the video.
        """
        of_video = self.table.video == self.table.videos.index(video)
        return self.table.rows(of_video & (self.table.second == second))


def read_truth(
    paths: Sequence[str | os.PathLike],
    excluded: str | os.PathLike | None = None,
    seconds: tuple[float, float] | None = None,
) -> ActionTruth:
    """Read files of annotated boxes as one table.

    Args:
        paths: csv files of AVA's format.
        excluded: a csv file of key frames (video,second) that are not evaluated.
        seconds: the first and the last second that are evaluated.

    Raises:
        UserError: a file cannot be read, or no box is left.
    """
    files = shorten_list(paths)
    table = _concatenate_tables([read_boxes(path, "actions") for path in paths])
    table = _select_seconds(table, seconds)
    if not len(table):
        period = "" if seconds is None else f" from second {seconds[0]:g} to {seconds[1]:g}"
        raise UserError(
            f"{files}: there are no boxes{period}, so there is nothing to evaluate against: give "
            "the annotations of the test videos."
        )
    return ActionTruth(table, files, read_excluded(excluded) if excluded else set(), seconds)


def read_detections(path: str | os.PathLike, truth: ActionTruth) -> BoxTable:
    """Read a csv file of detections (AVA's result format) on videos of the ground truth.

    Videos that the ground truth lacks are logged.

    Raises:
        UserError: the file is of another kind, or has none of the videos.
    """
    table = read_boxes(path, "detections")
    score = table.score
    if len(table) and (score % 1 == 0).all() and (score.max() > 1 or score.max() == 0):
        raise UserError(
            f"{path} has whole numbers from {score.min():g} to {score.max():g} as scores, like "
            "person ids of ground truth: give the detections as --results and the ground truth as "
            "--actions."
        )
    known = {*truth.table.videos, *(video for video, _ in truth.table.empty)}
    unknown = [name for name in table.videos if name not in known]
    if len(unknown) == len(table.videos) and len(table):
        raise UserError(
            f"None of the videos of {path} ({shorten_list(unknown, 3)}) is in {truth.files} "
            f"({shorten_list(known, 3)}): give detections and ground truth of the same videos."
        )
    if unknown:
        logger.warning(
            "%s: %d of %d videos are not in the ground truth: %s.",
            *(path, len(unknown), len(table.videos), shorten_list(unknown)),
        )
    return _select_seconds(table, truth.seconds)


def _select_seconds(table: BoxTable, seconds: tuple[float, float] | None) -> BoxTable:
    """Keep the key frames from the first to the last of ``seconds``; all if it is None."""
    if seconds is None:
        return table
    first, last = seconds
    table = table.rows((table.second >= first) & (table.second <= last))
    return replace(table, empty=[key for key in table.empty if first <= key[1] <= last])


def _concatenate_tables(tables: Sequence[BoxTable]) -> BoxTable:
    """Concatenate the rows of tables that have different lists of videos."""
    names = list(dict.fromkeys(name for table in tables for name in table.videos))
    numbers = [np.array(list(map(names.index, table.videos)), np.int32) for table in tables]
    columns = {name: np.concatenate([getattr(table, name) for table in tables]) for name in PER_ROW}
    columns["video"] = np.concatenate([new[table.video] for new, table in zip(numbers, tables)])
    return BoxTable(names, **columns, empty=[key for table in tables for key in table.empty])
