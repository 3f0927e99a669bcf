"""Lines of a list of videos, read one by one, for all formats."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mvit_det.errors import UserError, excerpt


def list_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of all lines but blank ones and comments ("# ...").

    Raises:
        UserError: the file cannot be read.
    """
    try:
        # File names may have bytes that are not valid UTF-8.
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise UserError(
                        f"The list of videos {path} is not a text file (line {number} has a zero "
                        "byte): give a list, or a folder."
                    )
                line = line.strip()
                # a comment has a blank after "#"; "#20_clap.avi" is a video
                if line and line.split(maxsplit=1)[0] != "#":
                    yield number, line
    except OSError as error:
        raise UserError(
            f"The list of videos {path} cannot be read ({error.strerror}): correct the path."
        ) from error


def frame_list_rows(path: Path) -> Iterator[tuple[int, list[str], int]]:
    """Yield (line number, columns) of each video's first frame in a list of PySlowFast, and frames.

    The third is the number of consecutive lines of the video.

    Such a list has a header, a line per frame, and the columns original_vido_id video_id frame_id
    path labels, separated by blanks.

    Raises:
        UserError: the file or a line cannot be read.
    """
    previous, row, frames = None, None, 0
    for number, line in islice(list_lines(path), 1, None):
        # There are 20 million lines: only the first of each video is split into columns.
        if previous is not None and line.startswith(previous):
            frames += 1
            continue
        if row is not None:
            yield *row, frames
        fields = line.split()
        if len(fields) != 5 or not os.path.dirname(fields[3]):
            raise UserError(
                f"{path}, line {number}, {excerpt(line)}, is not a row 'original_vido_id video_id "
                "frame_id path labels' with a path folder/frame.jpg: correct the list."
            )
        previous = line[: line.index(fields[0]) + len(fields[0]) + 1]
        row, frames = (number, fields), 1
    if row is not None:
        yield *row, frames
