"""Read csv files of boxes: annotations, person boxes (proposals), and detections."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvit_det.ava_files.rows import CsvRows, first_true, is_number, read_rows
from mvit_det.errors import UserError, shorten_list
from mvit_det.files import parsed_once

# attributes of `BoxTable` with one value per row
PER_ROW = ("video", "second", "box", "action", "score", "line")
_COLUMNS = {
    "actions": "video,second,x1,y1,x2,y2,action,person",
    "proposals": "video,second,x1,y1,x2,y2,action or nothing,score",
    "detections": "video,second,x1,y1,x2,y2,action,score",
}
# The person id may be missing, and so may the score, which the official scorer sets to 1.
_WIDTHS = {"actions": (7, 8), "proposals": (8,), "detections": (7, 8)}
# A predicted box may extend beyond the frame, but by no more than the frame's size.
_LOWEST, _HIGHEST = -1.0, 2.0
_LARGEST_ID = 1 << 31
_NAMES = ("second", "x1", "y1", "x2", "y2", "action")


@dataclass(frozen=True)
class BoxTable:
    """The N rows of a csv file of boxes, in file order.

    Attributes:
        videos: distinct video names.
        video: (N,) int32, indices into ``videos``.
        second: (N,) float64, time of the key frame in the video.
        box: (N, 4) float64, x1, y1, x2, y2 as fractions of the frame, as written.
        action: (N,) int64, action id at least 1; 0 if the row has none.
        score: (N,) float64; for annotations the person id. NaN if the file has none.
        line: (N,) int64, line number at least 1.
        empty: key frames (video, second) that the file lists without a box.
    """

    videos: list[str]
    video: np.ndarray
    second: np.ndarray
    box: np.ndarray
    action: np.ndarray
    score: np.ndarray
    line: np.ndarray
    empty: Sequence[tuple[str, float]] = ()

    def __len__(self) -> int:
        return len(self.line)

    def rows(self, index: np.ndarray) -> "BoxTable":
        """Select rows by indices (n,) or a boolean mask (N,), in that order; other fields stay."""
        columns = {name: getattr(self, name)[index] for name in PER_ROW}
        return replace(self, **columns)


@parsed_once
def read_boxes(path: str | os.PathLike, kind: str) -> BoxTable:
    """Read a csv file of boxes, with or without a header, with rows in any order.

    The table is shared between calls with the same unchanged file (`parsed_once`) and read-only.

    A row of two columns, video and second, is a key frame without boxes.

    Args:
        path: of the csv file.
        kind: "actions", annotations: video,second,x1,y1,x2,y2,action,person, where the person may
            be missing; "proposals", person boxes: ...,action,score, where the action is empty or -1
            if the box has none; "detections", the official result format: ...,action,score.

    Raises:
        UserError: a row cannot be parsed, or the file is of another kind.
    """
    path = Path(path)
    parts: list[tuple[np.ndarray, ...]] = []
    known: dict[str, int] = {}
    empty: dict[tuple[str, float], None] = {}
    for rows in read_rows(path, f"The file of {kind}"):
        no_box = np.array([line.count(",") < 6 for line in rows.text])
        no_box[no_box] = [len(row) == 2 for row in rows.select(no_box).fields]
        if no_box.any():
            empty |= dict.fromkeys(rows.select(no_box).key_frames())
            rows = rows.select(~no_box)
        if len(rows):
            parts.append(_columns(kind, rows, known))
    if not parts and not empty:
        raise UserError(f"The file of {kind} {path} has no rows: each must be {_COLUMNS[kind]}.")
    columns = list(zip(*(parts or [_no_rows()])))
    parts.clear()  # avoid a second copy of millions of rows
    arrays = {name: np.concatenate(columns.pop(0)) for name in PER_ROW}
    for array in arrays.values():
        array.flags.writeable = False  # the table is shared
    table = BoxTable(list(known), empty=list(empty), **arrays)
    if kind == "proposals":
        _check_proposals(path, table)
    return table


def _no_rows() -> tuple[np.ndarray, ...]:
    ids = np.zeros(0, np.int64)
    return ids.astype(np.int32), np.zeros(0), np.zeros((0, 4)), ids, np.zeros(0), ids


def _columns(kind: str, rows: CsvRows, known: dict[str, int]) -> tuple[np.ndarray, ...]:
    """Return the columns of `BoxTable` from ``video`` to ``line``; add new videos to ``known``."""
    names, second, box, action, score = _fields(kind, rows)
    rows.check_key_frames(names, second)
    video = np.array([known.setdefault(name, len(known)) for name in names], np.int32)
    at = first_true(((box < _LOWEST) | (box > _HIGHEST)).any(axis=1))
    if at is not None:
        raise UserError(
            f"{rows.cite(at)} has a box far outside [0, 1]: are these pixels? Divide x by the "
            "width and y by the height of the frame."
        )
    action = _check_actions(kind, rows, action)
    # person ids are integers
    if kind == "actions" and ((score >= 0) & (score <= 1)).all() and (score % 1 != 0).any():
        raise UserError(
            f"{rows.path} has scores ({shorten_list(np.unique(score), 3)}) where annotations have "
            "the person: it holds detections or proposals; give annotations (as "
            "ava_train_v2.2.csv)."
        )
    return video, second, box, action, score, rows.lines


def _fields(kind: str, rows: CsvRows) -> tuple[Any, ...]:
    """Parse video names, seconds (N,), boxes (N, 4), actions (N,), and scores or person ids (N,).

    A missing person id becomes NaN, a missing score 1, and a missing action -1.
    """
    widths = np.fromiter(map(len, rows.fields), np.int64, len(rows))
    _check_widths(kind, rows, widths)
    columns = list(zip(*rows.fields))
    actions = list(map(str.strip, columns[6]))
    if kind == "proposals":
        actions = [each or "-1" for each in actions]
    elif "" in actions:
        raise UserError(
            f"{rows.cite(actions.index(''))} has no action: write its id; or, if these are "
            "person boxes, give the file as proposals."
        )
    second, *sides, action = (
        rows.numbers(text, name) for text, name in zip([*columns[1:6], actions], _NAMES)
    )
    absent = "1" if kind == "detections" else ""
    last = [row[7] if len(row) == 8 else absent for row in rows.fields]
    if kind == "actions":
        score = np.array([float(each) if is_number(each) else np.nan for each in last])
    else:
        score = rows.numbers(last, "score")
    return list(map(str.strip, columns[0])), second, np.stack(sides, axis=1), action, score


def _check_widths(kind: str, rows: CsvRows, widths: np.ndarray) -> None:
    at = first_true(~np.isin(widths, _WIDTHS[kind]))
    if at is None:
        return
    single = widths[at] == 1 and re.search(r"[;\t ]", rows.fields[at][0].strip())
    fix = "separate the columns by commas" if single else "correct or delete the row"
    raise UserError(
        f"{rows.cite(at)} has {widths[at]} column(s) instead of {_COLUMNS[kind]}: {fix}."
    )


def _check_actions(kind: str, rows: CsvRows, values: np.ndarray) -> np.ndarray:
    """Check action ids, which start at 1; return 0 where a proposal has none."""
    no_action = (values == -1) if kind == "proposals" else np.zeros(len(rows), bool)
    # some programs write integers as 12.0
    at = first_true(((values < 1) | (values > _LARGEST_ID) | (values % 1 != 0)) & ~no_action)
    if at is not None:
        raise UserError(
            f"{rows.cite(at)} has action={values[at]:g}: it must be an id of the label map, >= 1."
        )
    return np.where(no_action, 0, values).astype(np.int64)


def _check_proposals(path: Path, table: BoxTable) -> None:
    """Refuse detections (boxes with a score per action) and annotations (person ids as scores)."""
    same = (table.video[1:] == table.video[:-1]) & (table.second[1:] == table.second[:-1])
    same &= (table.box[1:] == table.box[:-1]).all(axis=1)
    changed = table.score[1:] != table.score[:-1]
    if same.any() and changed[same].mean() > 0.5:
        row = int((same & changed).argmax()) + 1
        raise UserError(
            f"{path}, line {table.line[row]}, has the box of the row before with another score: it "
            "is a file of detections or annotations; give person boxes with one score each."
        )
    at = first_true((table.score < 0) | (table.score > 1))
    if at is not None:
        raise UserError(
            f"{path}, line {table.line[at]}, has score={table.score[at]:g}: it must be between 0 "
            "and 1; is this a file of annotations, which have the person there?"
        )
