"""What lists of videos have in common, whatever their format."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvit_det.errors import UserError


@dataclass(frozen=True)
class VideoRows:
    """What a list says.

    Attributes:
        names: of the videos, or of folders of frames, by path.
        numbers: (N,) their labels; or, where the list names classes, rows of ``classes``.
        places: (N,) number of each row in the file, and what such a row is called.
        classes: names of the classes.
        ordered: ``classes`` are in the order of the labels.
        stems: ``names`` lack the ending, and the folder that the videos are in.
        ignored: in words, what of the list is not used.
    """

    names: Sequence[str]
    numbers: np.ndarray
    places: tuple[str, np.ndarray]
    classes: Sequence[str] = ()
    ordered: bool = False
    stems: bool = False
    ignored: str = ""


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
