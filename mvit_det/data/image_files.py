"""What can be wrong with image files, as far as it shows without decoding them."""

import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from detectron2.utils.file_io import PathManager
from PIL import Image, UnidentifiedImageError

from mvit_det.errors import UserError

# Pillow's modes of 8 bits per channel (or fewer), which it converts to RGB as one expects.
_EIGHT_BIT_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")


@contextmanager
def open_picture(path: str, offset: int = 0, size: int | None = None) -> Iterator[Image.Image]:
    """Open a picture of 8 bits per channel, or raise an error that says why a file is none.

    More bits ("I;16", "I", "F") are not scaled, since the file does not tell which value is white: a
    plain conversion would show them all white or all black.

    Args:
        offset, size: where its bytes lie in the file; by default they are all of it.
    """
    try:
        with PathManager.open(path, "rb") as file:
            file.seek(offset)
            with Image.open(file if size is None else io.BytesIO(file.read(size))) as image:
                if image.mode not in _EIGHT_BIT_MODES:
                    raise ValueError(
                        f"pixels of type {image.mode!r} have no fixed range: convert the picture to "
                        "8 bits per channel"
                    )
                yield image
    except FileNotFoundError as error:
        raise ValueError("the file does not exist") from error
    except UnidentifiedImageError as error:
        raise ValueError(
            "the file is no picture that can be read (empty, or a web page under this name?)"
        ) from error


def check_image_file(path: str) -> None:
    """Raise an error that says why a file is no picture of 8 bits per channel.

    Pixels are not decoded.
    """
    with open_picture(path) as image:
        # NOTE: reading the EXIF tags of a damaged PNG makes Pillow swallow the damage, and
        # Detectron2 would go on with a black picture. The checksums tell, in a millisecond.
        if image.format == "PNG":
            image.verify()


def absent_files(paths: Iterable[str]) -> list[str]:
    """Return those paths, of files or folders, that do not exist, by one listing per folder."""
    by_folder = defaultdict(list)
    for path in paths:
        by_folder[os.path.dirname(path)].append(path)
    missing = []
    for folder, inside in by_folder.items():
        try:
            listed = set(os.listdir(folder))
        except (OSError, ValueError):  # absent, or one may use its files but not list it
            listed = set()
        suspects = [path for path in inside if os.path.basename(path) not in listed]
        # A file system that ignores case opens more names than it lists.
        missing += [path for path in suspects if not os.path.exists(path)]
    return missing


def missing_files(paths: Sequence[str], root: str | os.PathLike) -> list[str]:
    """Return those paths that do not exist; refuse if all are missing.

    ``root`` is only named in the message.
    """
    missing = absent_files(paths)
    if missing and len(missing) == len(paths):
        what = "exists, but not one" if os.path.isdir(root) else "does not exist, so none"
        raise UserError(
            f"Image folder {root} {what} of the {len(paths)} images is there (looked for "
            f"{missing[0]}): correct the folder, or file_name in the annotation file."
        )
    return missing


def unreadable_files(paths: Sequence[str], at_most: int = 1000) -> dict[str, str]:
    """Check up to ``at_most`` evenly spread files: {path: reason} of the bad ones.

    This takes a second or so from a local disk. What only decoding shows (a truncated JPEG), and
    the files between, are left to the mapper.
    """
    reasons = {}
    for path in paths[:: -(-len(paths) // at_most) or 1]:
        try:
            check_image_file(path)
        except Exception as error:
            reasons[path] = str(error)
    return reasons
