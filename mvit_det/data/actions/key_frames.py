"""Key frames with their boxes and actions, built from the rows of AVA's csv files."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvit_det.ava_files import BoxTable
from mvit_det.errors import UserError, shorten_list

logger = logging.getLogger(__name__)

# A corner may be this far outside the frame by rounding alone.
_ROUNDING = 0.01
# With a larger share of boxes without area, the columns are assumed to mean something else.
_MOST_INVERTED = 1 / 3


@dataclass(frozen=True)
class KeyFrames:
    """K key frames in the order of video and second, with M boxes in all.

    Attributes:
        videos: names of the V videos that have a key frame.
        video: (K,) int32, index into ``videos``.
        second: (K,) float64, seconds of the movie.
        start: (K + 1,) int64: key frame k has the boxes ``start[k]:start[k + 1]``.
        box: (M, 4) float32, x1, y1, x2, y2 as fractions of the frame, in 0..1.
        actions: (M, ceil(num_classes / 8)) uint8, one bit per action, the highest bit first; the
            first bit is the action with id 1.
    """

    videos: Sequence[str]
    video: np.ndarray
    second: np.ndarray
    start: np.ndarray
    box: np.ndarray
    actions: np.ndarray

    def __len__(self) -> int:
        return len(self.video)

    def labels(self, boxes: slice, num_classes: int) -> np.ndarray:
        """Unpack the actions of a slice of boxes: float32 (boxes, num_classes), 0 or 1."""
        bits = np.unpackbits(self.actions[boxes], axis=1, count=num_classes)
        return bits.astype(np.float32)

    def select(self, kept: np.ndarray) -> "KeyFrames":
        """Select key frames by a boolean mask (K,); videos without a key frame are removed."""
        counts = np.diff(self.start)
        boxes = np.repeat(kept, counts)
        present, video = np.unique(self.video[kept], return_inverse=True)
        return KeyFrames(
            [self.videos[number] for number in present.tolist()],
            video.astype(np.int32),
            self.second[kept],
            np.append(0, np.cumsum(counts[kept])),
            self.box[boxes],
            self.actions[boxes],
        )

    def times(self, start: float) -> list[np.ndarray]:
        """Split the key frames by video: per video (k,) float64, seconds after ``start``."""
        changes = np.flatnonzero(np.diff(self.video)) + 1
        return np.split(self.second - start, changes)


def videos_with_rows(table: BoxTable) -> list[str]:
    """List the videos that have rows in a table, in the order of their first rows."""
    present, rows = np.unique(table.video, return_index=True)
    return [table.videos[video] for video in present[np.argsort(rows)].tolist()]


def seconds_of(table: BoxTable) -> set[tuple[str, float]]:
    """Return the set of key frames (video, second) of a table, those without a box included."""
    new = np.ones(len(table), bool)
    new[1:] = (np.diff(table.video) != 0) | (np.diff(table.second) != 0)
    pairs = zip(table.video[new].tolist(), table.second[new].tolist())
    return {(table.videos[video], second) for video, second in pairs} | set(table.empty)


def valid_rows(path: str | os.PathLike, table: BoxTable, num_classes: int) -> BoxTable:
    """Keep the rows whose box has an area inside the frame; log the lines of the others.

    Args:
        path: of the csv file, for messages.
        table: its rows, boxes as fractions of the frame.
        num_classes: the largest action id that is allowed.

    Raises:
        UserError: an action id is above ``num_classes``, or more than a third of the boxes have no
            area, as if they were width and height.
    """
    unknown = table.action > num_classes
    if unknown.any():
        row = int(unknown.argmax())
        raise UserError(
            f"{path}, line {table.line[row]}, has action={table.action[row]}, but the model is "
            f"built for the actions 1 to {num_classes}: correct it, or set model.num_classes."
        )
    inverted, outside, beyond = box_faults(table.box)
    if inverted.sum() > _MOST_INVERTED * len(table):
        raise UserError(
            f"{path}, line {table.line[inverted.argmax()]}: x2 <= x1 or y2 <= y1 there and in "
            f"{inverted.sum()} of {len(table)} rows: write x1,y1,x2,y2, not a width and height."
        )
    for rows, what in (
        (inverted, "have a box without area (x2 <= x1 or y2 <= y1) and are dropped"),
        (outside, "have a box outside the frame and are dropped"),
        (beyond, "have a box beyond the frame and are clipped to it"),
    ):
        if rows.any():
            lines = table.line[rows].tolist()
            logger.warning(
                *("%s: %d rows %s: line %s", path, len(lines), what, shorten_list(lines, 10)),
                extra={"summary": True},
            )
    return table.rows(~np.asarray(inverted | outside))


def box_faults(box: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find faulty boxes (N, 4), in fractions of the frame.

    Returns:
        Exclusive masks (N,): without area, outside the frame, beyond it by more than rounding.
    """
    inside = box.clip(0, 1)
    inverted = (box[:, 2:] <= box[:, :2]).any(axis=1)
    outside = (inside[:, 2:] <= inside[:, :2]).any(axis=1) & ~inverted
    beyond = ((box < -_ROUNDING) | (box > 1 + _ROUNDING)).any(axis=1) & ~inverted & ~outside
    return np.asarray(inverted), np.asarray(outside), np.asarray(beyond)


def repeated_rows(table: BoxTable) -> np.ndarray:
    """Return the indices of rows that repeat an earlier one: same key frame, box and action."""
    rows = np.column_stack([table.video, table.second, table.box, table.action])
    _, firsts = np.unique(rows, axis=0, return_index=True)
    return np.delete(np.arange(len(table)), firsts)


def report_repeated(path: str | os.PathLike, table: BoxTable) -> None:
    """Log the rows that repeat an action of a box, since the metric counts each as one to find.

    Args:
        path: of the csv file, for the message.
        table: its rows.
    """
    lines = table.line[repeated_rows(table)].tolist()
    if lines:
        logger.warning(
            "%s: %d rows repeat an earlier one (same key frame, box and action): line %s",
            *(path, len(lines), shorten_list(lines, 10)),
            extra={"summary": True},
        )


def key_frames_of(tables: Sequence[BoxTable], num_classes: int) -> KeyFrames:
    """Group rows into one key frame per video and second, and merge the actions of equal boxes.

    Videos keep the order of the tables, seconds are ascending, and the boxes of a key frame keep
    the order of the rows. Boxes are clipped to the frame.

    NOTE: boxes are equal if their coordinates are equal as numbers. PySlowFast compares the text:
    0.5 and 0.50 are two boxes there, each without the actions of the other. In AVA's files equal
    numbers have equal text.

    Args:
        tables: rows with boxes as fractions of the frame, action ids from 0 (none) to
            ``num_classes``.
        num_classes: number of actions.
    """
    names: dict[str, int] = {}
    video = np.concatenate([_video_indices(table, names) for table in tables])
    second = np.concatenate([table.second for table in tables])
    box = np.concatenate([table.box for table in tables])
    action = np.concatenate([table.action for table in tables])
    rows = np.column_stack([video, second, box])
    _, firsts, group = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    by_row = np.lexsort([firsts, second[firsts], video[firsts]])
    firsts, group = firsts[by_row], np.argsort(by_row)[group.ravel()]
    video, second = video[firsts], second[firsts]
    changes = np.ones(len(firsts), bool)
    changes[1:] = (video[1:] != video[:-1]) | (second[1:] != second[:-1])
    return KeyFrames(
        list(names),
        video[changes],
        second[changes],
        np.append(np.flatnonzero(changes), len(firsts)),
        box[firsts].clip(0, 1).astype(np.float32),
        _pack(group, action, len(firsts), num_classes),
    )


def _video_indices(table: BoxTable, names: dict[str, int]) -> np.ndarray:
    """Return the index in ``names`` of each row's video, int32 (N,); adds new videos to it."""
    for name in videos_with_rows(table):
        names.setdefault(name, len(names))
    return np.array([names.get(name, -1) for name in table.videos], np.int32)[table.video]


def _pack(group: np.ndarray, action: np.ndarray, boxes: int, num_classes: int) -> np.ndarray:
    """Pack the actions of each box's rows into bits, in the order of `numpy.packbits`."""
    bits = np.zeros((boxes, -(-num_classes // 8)), np.uint8)
    known = action > 0
    group, bit = group[known], action[known] - 1
    np.bitwise_or.at(bits, (group, bit // 8), (128 >> (bit % 8)).astype(np.uint8))
    return bits
