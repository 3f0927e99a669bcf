"""What lists of videos have in common, whatever their format."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mvit_det.errors import UserError


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that say something."""
    try:
        # Names of files may hold other bytes than text.
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                line = line.strip()
                # a remark has a blank there, "#20_clap.avi" is a video
                if line and line.split(maxsplit=1)[0] != "#":
                    yield number, line
    except OSError as error:
        raise UserError(
            f"The list of videos {path} cannot be read ({error.strerror}): correct the path."
        ) from error


def frame_list_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line and columns of each video's first frame, in PySlowFast's lists with a line per frame.

    Columns, separated by blanks: original_vido_id video_id frame_id path labels, with a header.
    """
    previous = None
    for number, line in islice(text_lines(path), 1, None):
        # There are 20 million lines: of all but the first of each video the start is enough.
        if previous is not None and line.startswith(previous):
            continue
        fields = line.split()
        if len(fields) != 5 or not os.path.dirname(fields[3]):
            raise UserError(
                f"{path}, line {number}, {line[:120]!r}, is no row 'original_vido_id video_id "
                "frame_id path labels' with a path folder/frame.jpg: correct it, or give another."
            )
        previous = line[: line.index(fields[0]) + len(fields[0]) + 1]
        yield number, fields
