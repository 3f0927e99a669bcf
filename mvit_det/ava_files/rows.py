"""Read rows of csv files in chunks, each with its line number; read excluded key frames."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from mvit_det.errors import UserError, printable
from mvit_det.files import parsed_once, readable

# First bytes of compressed files.
_COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_OTHER_TEXT = {b"{": "JSON", b"[": "JSON", b"<": "a web page or XML"}
# Small enough for the lists of a chunk to stay in the CPU cache.
_CHUNK = 1 << 12
# How a numeric field begins; an empty one counts as numeric.
_LIKE_A_NUMBER = re.compile(r"\s*([-+.]*\d|nan\b|inf\b|$)", re.IGNORECASE)
# Header names that identify a column, per column.
_COLUMN_NAMES = (
    (),
    ("second", "timestamp"),
    ("x1", "xmin", "x_min", "left"),
    ("y1", "ymin", "y_min", "top"),
    ("x2", "xmax", "x_max", "right"),
    ("y2", "ymax", "y_max", "bottom"),
    ("action", "action_id"),
    ("person", "person_id", "score"),
)
_SIZES = ("w", "width", "h", "height")


@dataclass(frozen=True)
class CsvRows:
    """A chunk of N rows of a csv file.

    Attributes:
        path: of the file.
        lines: (N,) line numbers, at least 1.
        text: the unparsed rows.
    """

    path: Path
    lines: np.ndarray
    text: list[str]

    def __len__(self) -> int:
        return len(self.text)

    def select(self, mask: np.ndarray) -> "CsvRows":
        """Select rows by a boolean mask (N,)."""
        text = [line for line, keep in zip(self.text, mask.tolist()) if keep]
        return CsvRows(self.path, self.lines[mask], text)

    @cached_property
    def fields(self) -> list[list[str]]:
        """Fields of each row: N lists of text.

        Raises:
            UserError: a quotation in a row is malformed.
        """
        reader = csv.reader(self.text)
        fields: list[list[str]] = []
        try:
            for row in reader:
                if reader.line_num != len(fields) + 1 or (row and row[-1].endswith("\n")):
                    raise csv.Error("a quotation mark does not end there")
                fields.append(row)
        except csv.Error as error:
            raise UserError(
                f"{self.path}, line {self.lines[len(fields)]}, is not valid csv ({error}): fix it."
            ) from error
        return fields

    def cite(self, row: int) -> str:
        """Return the path, line number and content of row 0..N - 1, to begin a message."""
        text = ",".join(self.fields[row])
        excerpt = text if len(text) <= 120 else text[:117] + "..."
        return f"{self.path}, line {self.lines[row]}, {printable(excerpt)!r},"

    def numbers(self, text: Sequence[str], name: str) -> np.ndarray:
        """Parse a column, called ``name`` in messages, as finite numbers: float64 (N,).

        Raises:
            UserError: a field is not a finite number.
        """
        try:
            values = np.array(text, dtype=np.float64)
        except ValueError:
            values = np.array([float(each) if is_number(each) else np.nan for each in text])
        at = first_true(~np.isfinite(values))
        if at is not None:
            raise UserError(
                f"{self.cite(at)} has {name}={printable(text[at])!r}: it must be a number; "
                "correct or delete the row."
            )
        return values

    def key_frames(self) -> list[tuple[str, float]]:
        """Parse (video, second) from the first two columns of each of the N rows.

        Raises:
            UserError: a video name is empty, or a second is not a number of at least 0.
        """
        names = [row[0].strip() for row in self.fields]
        seconds = self.numbers([row[1] for row in self.fields], "second")
        self.check_key_frames(names, seconds)
        return list(zip(names, seconds.tolist()))

    def check_key_frames(self, names: Sequence[str], seconds: np.ndarray) -> None:
        """Check the names and the seconds (N,) of the videos.

        Raises:
            UserError: a name is empty, or a second is negative.
        """
        if "" in names:
            raise UserError(f"{self.cite(names.index(''))} has no video name: write it first.")
        at = first_true(seconds < 0)
        if at is not None:
            raise UserError(
                f"{self.cite(at)} has second={seconds[at]:g}: write the second of the video, "
                "of at least 0."
            )


def first_true(mask: np.ndarray) -> int | None:
    """Return the index of the first true element of a mask (N,); None: all are false."""
    return int(mask.argmax()) if mask.any() else None


def is_number(text: str) -> bool:
    """Return whether a text is a finite number."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def read_rows(path: Path, what: str) -> Iterator[CsvRows]:
    """Yield the rows of a csv file in chunks, without its header and blank lines.

    Args:
        path: of the csv file.
        what: description of the file, such as "The file of actions", which begins messages.

    Raises:
        UserError: the file cannot be read, is empty, or is obviously not a csv file.
    """
    _check_is_text(path, what)
    # video names may hold bytes that are not UTF-8
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        end = 0
        while text := list(islice(file, _CHUNK)):
            rows = CsvRows(path, np.arange(end + 1, end + len(text) + 1), text)
            kept = np.array([not line.isspace() for line in text])
            if end == 0 and kept[0]:
                header = rows.select(np.arange(len(text)) == 0)
                kept[0] = not _is_header(header)
            end += len(text)
            if kept.any():
                yield rows if kept.all() else rows.select(kept)


def numbered_lines(path: Path, what: str) -> list[tuple[int, str]]:
    """Read all lines except blank ones and comments ("#...") as (line number from 1, text).

    Args:
        path: of a text file.
        what: description of the file, which begins messages.

    Raises:
        UserError: the file cannot be read, is empty, or is obviously of another kind.
    """
    _check_is_text(path, what)
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        lines = [(number, line.strip()) for number, line in enumerate(file, 1)]
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


@parsed_once
def read_excluded(path: str | os.PathLike) -> frozenset[tuple[str, float]]:
    """Read key frames (video, second) that are not evaluated, from rows "video,second".

    Raises:
        UserError: a row does not have two columns, or the file cannot be read.
    """
    excluded: set[tuple[str, float]] = set()
    for rows in read_rows(Path(path), "The file of excluded seconds"):
        at = first_true(np.array([len(row) != 2 for row in rows.fields]))
        if at is not None:
            raise UserError(
                f"{rows.cite(at)} has {len(rows.fields[at])} column(s): a row of excluded "
                "seconds is video,second."
            )
        excluded.update(rows.key_frames())
    return frozenset(excluded)


def _check_is_text(path: Path, what: str) -> None:
    with readable(path, what, "give the path of a text file"), open(path, "rb") as file:
        head = file.read(4096)
    if head.startswith(_COMPRESSED):
        raise UserError(f"{what} {path} is compressed: unpack it and give the file inside.")
    if b"\0" in head or head.startswith((b"\x80", b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{what} {path} is not text in UTF-8: give a text file in AVA's format.")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if not start:
        raise UserError(f"{what} {path} is empty: download or write it again.")
    if start in _OTHER_TEXT:
        raise UserError(f"{what} {path} is {_OTHER_TEXT[start]}: give a text file in AVA's format.")


def _is_header(rows: CsvRows) -> bool:
    """Return whether the first row is a header; refuse one whose columns are in another order.

    In a header no column except the first, the video name, looks like a number.
    """
    row = rows.fields[0]
    if len(row) < 2 or any(map(_LIKE_A_NUMBER.match, row[1:])):
        return False
    for column, name in enumerate(map(str.lower, map(str.strip, row))):
        if name in _SIZES or any(
            name in names for names in _COLUMN_NAMES[:column] + _COLUMN_NAMES[column + 1 :]
        ):
            raise UserError(
                f"{rows.cite(0)} has the column {name!r}: columns are read by position: "
                "write video,second,x1,y1,x2,y2,..., with the corners of the boxes, in this order."
            )
    return True
