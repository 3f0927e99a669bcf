"""Pictures and videos by file ending, the same for training and for prediction."""

import os
from collections import Counter
from collections.abc import Iterable
from functools import cache

from PIL import Image

VIDEO_ENDINGS = frozenset(
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .m2ts .m2v .m4v .mkv .mov .mp4 .mpe .mpeg .mpg .mts "
    ".mxf .ogm .ogv .qt .ts .vob .webm .wmv".split()
)
# Folders that operating systems and storage servers add.
_SYSTEM_FOLDERS = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
)
# Formats that Pillow registers, but opens by a third-party handler, or (EPS) by starting a program
# that runs what the file holds.
_NOT_READ = frozenset("BUFR EPS GRIB HDF5 MPEG WMF".split())


def ending(name: str) -> str:
    """Return the ending of a file name with its dot, in lower case: ".jpg"."""
    return os.path.splitext(name)[1].lower()


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or a folder of the operating system."""
    return name.startswith(".") or name in _SYSTEM_FOLDERS


def is_video_name(name: str) -> bool:
    """Return whether a file name has the ending of a video."""
    return ending(name) in VIDEO_ENDINGS


def is_image_name(name: str) -> bool:
    """Return whether a file name has the ending of a picture; of a GIF the first frame is used."""
    return ending(name) in image_endings()


@cache
def image_endings() -> frozenset[str]:
    """Return the endings of pictures that the installed Pillow, with its plugins, can read."""
    formats = image_formats()
    readable = {end for end, name in Image.registered_extensions().items() if name in formats}
    return frozenset(readable - VIDEO_ENDINGS)


@cache
def image_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that are read, whatever the ending of a file."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in _NOT_READ)


class Skipped(Counter[str]):
    """Counts skipped files by their endings; ``hidden`` pictures and videos are counted apart."""

    hidden = 0

    def add_hidden(self, names: Iterable[str]) -> None:
        """Count those of the names that are hidden pictures or videos, such as "._cat.jpg"."""
        hidden = filter(is_hidden, names)
        self.hidden += sum(is_image_name(name) or is_video_name(name) for name in hidden)

    def add(self, names: Iterable[str]) -> None:
        """Count files by name."""
        self.update(ending(name) or "no ending" for name in names)

    def __str__(self) -> str:
        """Describe the counts: "5 files of other kinds (3 .heic, 2 .txt)"; "" if there are none."""
        hidden = f"{self.hidden} hidden files" if self.hidden else ""
        if not self:
            return hidden
        kinds = sorted(self.items(), key=lambda kind: (-kind[1], kind[0]))
        summary = ", ".join(f"{count} {kind}" for kind, count in kinds[:5])
        more = f" and {len(kinds) - 5} more kinds" if len(kinds) > 5 else ""
        both = f"{self.total()} files of other kinds ({summary}{more})", hidden
        return " and ".join(filter(None, both))
