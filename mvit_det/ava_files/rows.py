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
# Header names by column, as far as they identify one.
_PLACES = (
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
class Rows:
    """A chunk of N rows of a csv file.

    Attributes:
        path: of the file.
        lines: (N,) line numbers, from 1 on.
        text: the unparsed rows.
    """

    path: Path
    lines: np.ndarray
    text: list[str]

    def __len__(self) -> int:
        return len(self.text)

    def only(self, kept: np.ndarray) -> "Rows":
        """Select rows by a boolean mask (N,)."""
        text = [line for line, keep in zip(self.text, kept.tolist()) if keep]
        return Rows(self.path, self.lines[kept], text)

    @cached_property
    def fields(self) -> list[list[str]]:
        """Split each row into its fields; a malformed quotation raises a `UserError`."""
        reader, found = csv.reader(self.text), []
        try:
            for row in reader:
                if reader.line_num != len(found) + 1 or (row and row[-1].endswith("\n")):
                    raise csv.Error("a quotation mark does not end there")
                found.append(row)
        except csv.Error as error:
            raise UserError(
                f"{self.path}, line {self.lines[len(found)]}, cannot be read ({error}): correct it."
            ) from error
        return found

    def place(self, at: int) -> str:
        """Return path, line number and content of a row, to begin messages with."""
        text = ",".join(self.fields[at])
        shown = text if len(text) <= 120 else text[:117] + "..."
        return f"{self.path}, line {self.lines[at]}, {printable(shown)!r},"

    def numbers(self, text: Sequence[str], name: str) -> np.ndarray:
        """Parse a column, called ``name`` in messages, as finite numbers (N,) float64."""
        try:
            values = np.array(text, dtype=np.float64)
        except ValueError:
            values = np.array([float(each) if is_number(each) else np.nan for each in text])
        at = first(~np.isfinite(values))
        if at is not None:
            raise UserError(
                f"{self.place(at)} has {name}={printable(text[at])!r}: it must be a number; "
                "correct or delete the row."
            )
        return values

    def key_frames(self) -> list[tuple[str, float]]:
        """Parse (video, second) from the first two columns."""
        names = [row[0].strip() for row in self.fields]
        seconds = self.numbers([row[1] for row in self.fields], "second")
        self.check_key_frames(names, seconds)
        return list(zip(names, seconds.tolist()))

    def check_key_frames(self, names: Sequence[str], seconds: np.ndarray) -> None:
        """Refuse an empty video name and a negative second."""
        if "" in names:
            raise UserError(f"{self.place(names.index(''))} names no video: write its name first.")
        at = first(seconds < 0)
        if at is not None:
            raise UserError(
                f"{self.place(at)} has second={seconds[at]:g}: write the second of the video, from "
                "0 on."
            )


def first(mask: np.ndarray) -> int | None:
    """Return the index of the first true element of a mask (N,), None if there is none."""
    return int(mask.argmax()) if mask.any() else None


def is_number(text: str) -> bool:
    """Return whether a text is a finite number."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def read_rows(path: Path, what: str) -> Iterator[Rows]:
    """Yield the rows of a csv file in chunks, without its header and blank lines.

    Args:
        path: of the csv file.
        what: what the file should be, to begin messages with.

    Raises:
        UserError: the file cannot be read, is empty, or is obviously not a csv file.
    """
    _check_is_text(path, what)
    # video names may hold bytes that are not UTF-8
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        end = 0
        while text := list(islice(file, _CHUNK)):
            rows = Rows(path, np.arange(end + 1, end + len(text) + 1), text)
            kept = np.array([not line.isspace() for line in text])
            if end == 0 and kept[0]:
                header = rows.only(np.arange(len(text)) == 0)
                kept[0] = not _is_header(header)
            end += len(text)
            if kept.any():
                yield rows if kept.all() else rows.only(kept)


def text_lines(path: Path, what: str) -> list[tuple[int, str]]:
    """Return (line number, text) of all lines except blank ones and comments ("#")."""
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
    found = set()
    for rows in read_rows(Path(path), "The file of excluded seconds"):
        at = first(np.array([len(row) != 2 for row in rows.fields]))
        if at is not None:
            raise UserError(
                f"{rows.place(at)} has {len(rows.fields[at])} column(s): a row of excluded seconds "
                "is video,second."
            )
        found.update(rows.key_frames())
    return frozenset(found)


def _check_is_text(path: Path, what: str) -> None:
    with readable(path, what, "give the path of a text file"), open(path, "rb") as file:
        head = file.read(4096)
    if head.startswith(_COMPRESSED):
        raise UserError(f"{what} {path} is compressed: unpack it and give the file inside.")
    if b"\0" in head or head.startswith((b"\x80", b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{what} {path} is no text in UTF-8: give a text file as AVA has it.")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if not start:
        raise UserError(f"{what} {path} is empty: fetch or write it again.")
    if start in _OTHER_TEXT:
        raise UserError(f"{what} {path} is {_OTHER_TEXT[start]}: give a text file as AVA has it.")


def _is_header(rows: Rows) -> bool:
    """Return whether the first row is a header; refuse one whose columns are in another order.

    In a header no column except the first, the video name, looks like a number.
    """
    row = rows.fields[0]
    if len(row) < 2 or any(map(_LIKE_A_NUMBER.match, row[1:])):
        return False
    for place, name in enumerate(map(str.lower, map(str.strip, row))):
        if name in _SIZES or any(name in names for names in _PLACES[:place] + _PLACES[place + 1 :]):
            raise UserError(
                f"{rows.place(0)} has the column {name!r}: columns are read by their places, "
                "video,second,x1,y1,x2,y2,..., with the corners of boxes; write them so."
            )
    return True
