"""Published lists of videos: a function per format, each of which gives the same rows.

Which format a file has is told by its content. All but JSON files may have blank lines, lines that
begin with "# ", a byte order mark, and the line ends of any system.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvit_det.data.class_names import numbered_classes
from mvit_det.data.discovery import FileIndex
from mvit_det.data.file_kinds import is_video_name
from mvit_det.data.video.list_rows import frame_list_rows, text_lines
from mvit_det.errors import UserError, some
from mvit_det.files import read_json

# A list has one of these between its columns, the last of which is the label.
_SEPARATORS = ("\t", ",", " ")
_FRAME_LIST = "original_vido_id"  # as the published header spells it
_LABEL_COLUMN = {"label", "labels", "class"}
# A number above is no label, but an id or the like; as many classes would fill the memory.
_LARGEST_LABEL = 999_999
# Of Something-Something-v2 as first released, and as it is offered now.
_SOMETHING = ("something-something-v2-", "")

Row = tuple[int, str, Any]  # number in the file, name of the video, and its label or its class


def read_video_list(path: Path) -> FileIndex:
    """The rows of a list in any of the formats below."""
    number, first = next(text_lines(path), (0, ""))
    if not number:
        raise UserError(f"The list of videos {path} is empty: write a row for each video.")
    if "\0" in first:
        raise UserError(f"The list of videos {path} is no text file: give a list, or a folder.")
    if first[0] in ("[", "{") and _separator(first) is None:
        rows = something_json(path)
    elif first.startswith(_FRAME_LIST):
        rows = frame_list(path)
    elif "youtube_id" in _columns(first):
        rows = kinetics_csv(path)
    else:
        rows = path_and_label(path)
    if not len(rows.names):
        why = f"none that can be used ({rows.ignored})" if rows.ignored else "no row"
        raise UserError(f"The list of videos {path} has {why}: write one for each video.")
    return rows


def path_and_label(path: Path) -> FileIndex:
    """PySlowFast's and MMAction2's lists: ``path label``; of frames ``folder frames label``.

    Between the columns are blanks, tabs or commas; paths may hold any of these as well.
    """
    lines = list(text_lines(path))
    if _separator(lines[0][1]) is None and _is_header(lines[0][1]):
        del lines[0]
    separator = _separator(lines[0][1]) if lines else None
    rows = []
    for number, line in lines:
        fields = [part.strip() for part in line.rsplit(separator, 1)]
        try:
            name, label = fields[0].strip('"'), int(fields[1])
            if not name or not 0 <= label <= _LARGEST_LABEL:
                raise ValueError
        except (ValueError, IndexError) as error:
            raise UserError(_no_row(path, number, line, separator)) from error
        rows.append((number, name, label))
    if rows and all(_ends_in_number(name, separator) for _, name, _ in rows[:100]):
        rows = _folders_of_frames(path, rows, separator)
    return _index(path, rows)


def kinetics_csv(path: Path) -> FileIndex:
    """The annotation of Kinetics itself: ``label,youtube_id,time_start,time_end,split``.

    A video is called by its YouTube id, start and end, as the usual download scripts name it:
    "0wR5jVB-WPk_000417_000427". Classes are in the order of their names, as in all released models.
    """
    lines = text_lines(path)
    header = _columns(next(lines)[1])
    missing = {"label", "youtube_id", "time_start", "time_end"} - set(header)
    if missing:
        raise UserError(
            f"{path} lacks the column {some(sorted(missing))}: give an annotation file of Kinetics "
            "with labels (those of its test set are not public)."
        )
    label, video, start, end = map(header.index, ("label", "youtube_id", "time_start", "time_end"))
    rows = []
    for number, line in lines:
        try:
            # each line alone, so that a quotation mark too many spoils no other
            (fields,) = csv.reader([line])
            times = [int(float(fields[column])) for column in (start, end)]
            kind = fields[label].replace('"', "").strip()
        except (ValueError, OverflowError, IndexError, csv.Error) as error:
            raise UserError(
                f"{path}, line {number}, {line!r}, does not have the columns {','.join(header)} "
                "with times in seconds: correct it."
            ) from error
        rows.append((number, f"{fields[video]}_{times[0]:06d}_{times[1]:06d}", kind))
    return _index(path, rows, sorted({kind for _, _, kind in rows}), stems=True)


def something_json(path: Path) -> FileIndex:
    """Something-Something-v2: ``something-something-v2-train.json`` and its like.

    A video is called by its id. The order of the classes is that of
    ``something-something-v2-labels.json`` beside it; without that file, of their names.
    """
    entries = read_json(path, "The list of videos")
    if not isinstance(entries, list):
        raise UserError(
            f"{path} is no list of videos with labels: give the JSON file with an entry of id and "
            "template for each (that of the classes belongs to `classes`)."
        )
    rows = [_something_row(path, number, entry) for number, entry in enumerate(entries, 1)]
    classes = _something_classes(path)
    known = set(classes or ())
    unknown = next((row for row in rows if classes and row[2] not in known), None)
    if unknown:
        raise UserError(
            f"{path}, entry {unknown[0]}: {unknown[2]!r} is not among the classes of the labels.json "
            "beside it: put the two files of one release together."
        )
    of_rows = sorted({template for _, _, template in rows})
    return _index(path, rows, classes or of_rows, "entry", ordered=bool(classes), stems=True)


def frame_list(path: Path) -> FileIndex:
    """PySlowFast's list with a line per frame: ``original_vido_id video_id frame_id path labels``.

    The frames of a video lie in one folder, of which all are used. Labels are those of the JSON
    files of Something-Something-v2 where they lie beside it, else of the last column.
    """
    known = _something_labels(path)
    rows, unlabelled = [], 0
    for number, fields in frame_list_rows(path):
        label = known.get(fields[0]) if known else _single_label(path, number, fields)
        if label is None:
            unlabelled += 1
        else:
            rows.append((number, os.path.dirname(fields[3]), label))
    ignored = f"{unlabelled} videos that the JSON files do not name" if unlabelled else ""
    classes = _something_classes(path) if known else ()
    return _index(path, rows, classes, ordered=bool(known), ignored=ignored)


def _index(
    path: Path, rows: Sequence[Row], classes: Sequence[str] = (), word: str = "line", **more: Any
) -> FileIndex:
    """Rows as arrays; ``word`` is what the file calls one."""
    numbers, names, labels = zip(*rows) if rows else ((), (), ())
    if classes:
        order = {name: label for label, name in enumerate(classes)}
        labels = [order[name] for name in labels]
    more |= dict(list_file=str(path), rows=(word, np.array(numbers, np.int64)))
    return FileIndex("", names, np.array(labels, np.int64), list(classes), **more)


def _is_number(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _ends_in_number(line: str, separator: str) -> bool:
    start, found, last = line.rpartition(separator)
    return bool(found and start) and _is_number(last)


def _separator(line: str) -> str | None:
    return next((each for each in _SEPARATORS if _ends_in_number(line, each)), None)


def _columns(header: str) -> list[str]:
    return [name.strip(' "').lower() for name in header.split(",")]


def _is_header(line: str) -> bool:
    return any(line.rpartition(each)[2].strip().lower() in _LABEL_COLUMN for each in _SEPARATORS)


def _no_row(path: Path, number: int, line: str, separator: str | None) -> str:
    found = next((each for each in (separator, *_SEPARATORS) if each and each in line), None)
    name, _, label = line.rpartition(found) if found else (line, "", "")
    both = name.strip(' "') and label.strip()
    why = f"the label {label.strip()!r}" if both else "one column alone"
    return (
        f"{path}, line {number}, {line!r}, is no row 'path label' or 'folder frames label' but has "
        f"{why}: correct it (labels are numbers from 0 to {_LARGEST_LABEL}, and come last)."
    )


def _folders_of_frames(path: Path, rows: Sequence[Row], separator: str) -> list[Row]:
    """Take the number of frames off; refuse lists that look alike and mean something else."""
    without = []
    for number, name, label in rows:
        folder, _, frames = name.rpartition(separator)
        folder = folder.strip()
        if not folder or not _is_number(frames) or is_video_name(folder):
            raise UserError(
                f"{path}, line {number}: {name!r} is followed by one label, but not by a number of "
                "frames as the other rows are, or it is a video file: write one 'path label' per "
                "video (several labels are not supported), or 'folder frames label'."
            )
        without.append((number, folder, label))
    if all(_ends_in_number(folder, separator) for _, folder, _ in without):
        raise UserError(
            f"{path}, line {rows[0][0]}: there are three numbers behind each folder; parts of a video "
            "(folder, first frame, frames, label) are not supported: give each a folder of its own; or, "
            "if the folders are called so, put tabs between the columns."
        )
    return without


def _something_row(path: Path, number: int, entry: Any) -> Row:
    if not isinstance(entry, dict) or not {"id", "template"} <= entry.keys():
        raise UserError(
            f"{path}, entry {number}: an id and a template are needed, as the training and validation "
            "files have them (the labels of the test set are a file of their own)."
        )
    return number, str(entry["id"]), str(entry["template"]).replace("[", "").replace("]", "")


def _something_classes(path: Path) -> list[str] | None:
    files = [path.with_name(f"{prefix}labels.json") for prefix in _SOMETHING]
    return next((numbered_classes(file) for file in files if file.is_file()), None)


def _something_labels(path: Path) -> dict[str, str]:
    """The class of each id, by the JSON files beside ``path``; empty without them."""
    classes, labels = _something_classes(path), {}
    for prefix in _SOMETHING:
        for split in ("train", "validation"):
            file = path.with_name(f"{prefix}{split}.json")
            if classes and file.is_file():
                rows = something_json(file)
                labels |= {name: classes[label] for name, label in zip(rows.names, rows.numbers)}
    return labels


def _single_label(path: Path, number: int, fields: list[str]) -> int:
    label = fields[4].replace('"', "")
    if not _is_number(label) or not 0 <= int(label) <= _LARGEST_LABEL:
        raise UserError(
            f"{path}, line {number}: the label {fields[4]!r} is not one number from 0 on: put the files "
            "something-something-v2-labels.json, -train.json and -validation.json beside the list, "
            "which have the labels of that data set."
        )
    return int(label)
