"""Published lists of videos: a function per format, each of which returns a `FileIndex`.

The format is recognised by the content of the file. All but JSON files may have blank lines,
comments that begin with "# ", a byte order mark, and the line ends of any system.
"""

import csv
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvit_det.data.class_labels import check_names, numbered_classes, whole_number
from mvit_det.data.discovery import FileIndex
from mvit_det.data.file_kinds import is_video_name
from mvit_det.data.video.list_rows import frame_list_rows, list_lines
from mvit_det.errors import UserError, excerpt, shorten_list
from mvit_det.files import read_json

# Column separators of a list; the last column is the label.
_SEPARATORS = ("\t", ",", " ")
_FRAME_LIST = "original_vido_id"  # with the published header's spelling
_LABEL_COLUMN = {"label", "labels", "class"}
# A larger number is assumed to be an id, since that many classes would fill the memory.
_LARGEST_LABEL = 999_999
_LARGEST_COUNT = 2**31  # of frames
# Prefix of Something-Something-v2's files as first released, and as offered now.
_SOMETHING = ("something-something-v2-", "")

Row = tuple[int, str, Any]  # number in the file, name of the video, and its label or class


def read_video_list(path: Path) -> FileIndex:
    """Read a list in any of the formats below.

    Raises:
        UserError: the file is empty, cannot be read, or has a row that does not fit its format.
    """
    number, first = next(list_lines(path), (0, ""))
    if not number:
        raise UserError(f"The list of videos {path} is empty: write a row for each video.")
    if first[0] in ("[", "{") and _separator(first) is None:
        rows = something_json(path)
    elif first.startswith(_FRAME_LIST):
        rows = frame_list(path)
    elif "youtube_id" in _columns(first):
        rows = kinetics_csv(path)
    else:
        rows = path_and_label(path)
    if not len(rows.names):
        why = f"no usable row ({rows.ignored})" if rows.ignored else "no row"
        raise UserError(f"The list of videos {path} has {why}: write one for each video.")
    return rows


def path_and_label(path: Path) -> FileIndex:
    """Read lists of PySlowFast and MMAction2: ``path label``, or ``folder frames label``.

    Columns are separated by blanks, tabs or commas; paths may contain any of these as well. Labels
    are class indices from 0 to 999,999.

    Raises:
        UserError: the file cannot be read, or a row does not fit the format; "folder first frames
            label", a part of a folder, is refused as well.
    """
    lines = list(list_lines(path))
    if _separator(lines[0][1]) is None and _is_header(lines[0][1]):
        del lines[0]
    separator = _separator(lines[0][1]) if lines else None
    rows = []
    for number, line in lines:
        fields = [part.strip() for part in line.rsplit(separator, 1)]
        try:
            name, label = fields[0].strip('"'), whole_number(fields[1])
            if not name or label > _LARGEST_LABEL:
                raise ValueError
        except (ValueError, IndexError) as error:
            raise UserError(_bad_row_message(path, number, line, separator)) from error
        rows.append((number, name, label))
    if separator and all(_ends_in_number(name, separator) for _, name, _ in rows[:100]):
        rows, frames = _split_frame_counts(path, rows, separator)
        return _index(path, rows, frames=np.array(frames, np.int64))
    return _index(path, rows)


def kinetics_csv(path: Path) -> FileIndex:
    """Read the csv files of Kinetics: ``label,youtube_id,time_start,time_end,split``.

    The usual download scripts name a video by its YouTube id, start and end in seconds:
    "0wR5jVB-WPk_000417_000427". Classes are in alphabetical order, as in all released models.

    Raises:
        UserError: a column is missing, or a row does not fit the header.
    """
    lines = list_lines(path)
    header = _columns(next(lines)[1])
    missing = {"label", "youtube_id", "time_start", "time_end"} - set(header)
    if missing:
        raise UserError(
            f"{path} lacks the column {shorten_list(sorted(missing))}: give an annotation file of "
            "Kinetics with labels (those of its test set are not public)."
        )
    label, video, start, end = map(header.index, ("label", "youtube_id", "time_start", "time_end"))
    rows = []
    for number, line in lines:
        try:
            # line by line, so that an unmatched quotation mark does not affect other rows
            (fields,) = csv.reader([line])
            times = [int(float(fields[column])) for column in (start, end)]
            kind = fields[label].replace('"', "").strip()
            if not kind or not fields[video]:
                raise ValueError("an empty field")
        except (ValueError, OverflowError, IndexError, csv.Error) as error:
            raise UserError(
                f"{path}, line {number}, {excerpt(line)}, does not have the columns "
                f"{shorten_list(header, 9)} with times in seconds: correct it."
            ) from error
        rows.append((number, f"{fields[video]}_{times[0]:06d}_{times[1]:06d}", kind))
    return _index(path, rows, sorted({kind for _, _, kind in rows}), stems=True)


def something_json(path: Path) -> FileIndex:
    """Read JSON files of Something-Something-v2, such as ``something-something-v2-train.json``.

    A video is named by its id. Classes have the order of ``something-something-v2-labels.json``
    in the same folder; without it, they are in alphabetical order.

    Raises:
        UserError: the file is not a list of entries with id and template, or a class is not in the
            file of labels.
    """
    entries = read_json(path, "The list of videos")
    if not isinstance(entries, list):
        raise UserError(
            f"{path} is not a list of videos with labels: give the JSON file with an id and a "
            "template per video (the file of the classes belongs to `classes`)."
        )
    rows = [_something_row(path, number, entry) for number, entry in enumerate(entries, 1)]
    classes = _something_classes(path)
    known = set(classes or ())
    unknown = next((row for row in rows if classes and row[2] not in known), None)
    if unknown:
        raise UserError(
            f"{path}, entry {unknown[0]}: {excerpt(unknown[2])} is not among the classes of the "
            "labels.json in the same folder: put two files of the same release together."
        )
    of_rows = sorted({template for _, _, template in rows})
    return _index(path, rows, classes or of_rows, "entry", ordered=bool(classes), stems=True)


def frame_list(path: Path) -> FileIndex:
    """Read PySlowFast's frame lists: ``original_vido_id video_id frame_id path labels``.

    The frames of a video are in one folder, and all pictures of it are used. Labels are those of
    the JSON files of Something-Something-v2 in the list's folder, else those of the last column.

    Raises:
        UserError: a row does not fit the format, or its label is not a single class index.
    """
    known = _something_labels(path)
    rows, unlabelled = [], 0
    frames: Counter[str] = Counter()
    for number, fields, count in frame_list_rows(path):
        label = known.get(fields[0]) if known else _single_label(path, number, fields)
        if label is None:
            unlabelled += 1
        else:
            folder = os.path.dirname(fields[3])
            rows.append((number, folder, label))
            frames[folder] += count
    ignored = f"{unlabelled} videos that the JSON files do not name" if unlabelled else ""
    classes = _something_classes(path) or () if known else ()
    counts = np.array([frames[folder] for _, folder, _ in rows], np.int64)
    more: Any = dict(frames=counts, ordered=bool(known), ignored=ignored)
    return _index(path, rows, classes, **more)


def _index(
    path: Path, rows: Sequence[Row], classes: Sequence[str] = (), word: str = "line", **more: Any
) -> FileIndex:
    """Convert rows to arrays; ``word`` names a row in messages: "line" or "entry"."""
    check_names(classes or {label for *_, label in rows if isinstance(label, str)}, str(path))
    numbers, names, labels = zip(*rows) if rows else ((), (), ())
    if classes:
        order = {name: label for label, name in enumerate(classes)}
        labels = tuple(order[name] for name in labels)
    more |= dict(list_file=str(path), rows=(word, np.array(numbers, np.int64)))
    return FileIndex("", names, np.array(labels, np.int64), list(classes), **more)


def _is_number(text: str) -> bool:
    return bool(re.fullmatch("-?[0-9]{1,4000}", text.strip()))


def _ends_in_number(line: str, separator: str) -> bool:
    start, match, last = line.rpartition(separator)
    return bool(match and start) and _is_number(last)


def _separator(line: str) -> str | None:
    return next((each for each in _SEPARATORS if _ends_in_number(line, each)), None)


def _columns(header: str) -> list[str]:
    return [name.strip(' "').lower() for name in header.split(",")]


def _is_header(line: str) -> bool:
    return any(line.rpartition(each)[2].strip().lower() in _LABEL_COLUMN for each in _SEPARATORS)


def _bad_row_message(path: Path, number: int, line: str, separator: str | None) -> str:
    used = next((each for each in (separator, *_SEPARATORS) if each and each in line), None)
    name, _, label = line.rpartition(used) if used else (line, "", "")
    both = name.strip(' "') and label.strip()
    why = f"the label {excerpt(label.strip(), 40)}" if both else "one column only"
    return (
        f"{path}, line {number}, {excerpt(line)}, is not a row 'path label' or "
        "'folder frames label', but "
        f"has {why}: correct it (labels are numbers from 0 to {_LARGEST_LABEL}, and come last)."
    )


def _split_frame_counts(
    path: Path, rows: Sequence[Row], separator: str
) -> tuple[list[Row], list[int]]:
    """Split off the number of frames of each row; refuse similar lists with another meaning."""
    folders: list[Row] = []
    counts: list[int] = []
    for number, name, label in rows:
        folder, _, frames = name.rpartition(separator)
        folder = folder.strip()
        if not folder or not _is_number(frames) or is_video_name(folder):
            raise UserError(
                f"{path}, line {number}: {excerpt(name)} is followed by a label, but not by a "
                "number of frames as in the other rows, or it is a video file: write one "
                "'path label' per video (several labels are not supported), or "
                "'folder frames label'."
            )
        folders.append((number, folder, label))
        counts.append(min(max(int(frames.strip()), 0), _LARGEST_COUNT))
    if all(_ends_in_number(folder, separator) for _, folder, _ in folders):
        raise UserError(
            f"{path}, line {rows[0][0]}: there are three numbers after each folder; parts of a "
            "video (folder, first frame, frames, label) are not supported: give each part its "
            "folder; or, if these are parts of folder names, put tabs between the columns."
        )
    return folders, counts


def _something_row(path: Path, number: int, entry: Any) -> Row:
    known = entry if isinstance(entry, dict) else {}
    if type(known.get("id")) not in (str, int) or type(known.get("template")) is not str:
        raise UserError(
            f"{path}, entry {number}: an id and a template are needed as text, as in the "
            "training and validation files (the labels of the test set are in a separate file)."
        )
    return number, str(entry["id"]), str(entry["template"]).replace("[", "").replace("]", "")


def _something_classes(path: Path) -> list[str] | None:
    files = [path.with_name(f"{prefix}labels.json") for prefix in _SOMETHING]
    return next((numbered_classes(file) for file in files if file.is_file()), None)


def _something_labels(path: Path) -> dict[str, str]:
    """Return {id: class} from the JSON files in the folder of ``path``; {} if there are none."""
    classes = _something_classes(path)
    labels: dict[str, str] = {}
    for prefix in _SOMETHING:
        for split in ("train", "validation"):
            file = path.with_name(f"{prefix}{split}.json")
            if classes and file.is_file():
                rows = something_json(file)
                labels |= {name: classes[label] for name, label in zip(rows.names, rows.numbers)}
    return labels


def _single_label(path: Path, number: int, fields: list[str]) -> int:
    label = fields[4].replace('"', "")
    if not re.fullmatch("[0-9]{1,6}", label):
        raise UserError(
            f"{path}, line {number}: the label {excerpt(fields[4], 40)} is not a number of at "
            "least 0: put the files something-something-v2-labels.json, -train.json and "
            "-validation.json, which have the labels of that data set, into the folder of the list."
        )
    return int(label)
