"""Opening image files, and checks of them that do not decode the pixels."""

import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from detectron2.utils.file_io import PathManager
from PIL import Image, UnidentifiedImageError

from mvit_det.errors import UserError

# Pillow's modes of at most 8 bits per channel, which it converts to RGB without loss of range.
_EIGHT_BIT_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")


@contextmanager
def open_picture(path: str, offset: int = 0, size: int | None = None) -> Iterator[Image.Image]:
    """Open a picture of at most 8 bits per channel for a ``with`` block.

    Modes with more bits ("I;16", "I", "F") are refused: the file does not define which value is
    white, and a plain conversion would make the picture all white or all black.

    Args:
        path: a file, or a path that Detectron2's `PathManager` opens.
        offset: position in bytes at which the picture begins in the file.
        size: its size in bytes; None: the whole file.

    Raises:
        ValueError: the file does not exist, is not a picture, or has more than 8 bits per channel;
            the message is the reason, without the path.
        OSError: the file cannot be read.
    """
    try:
        with PathManager.open(path, "rb") as file:
            file.seek(offset)
            with Image.open(file if size is None else io.BytesIO(file.read(size))) as image:
                check_mode(image)
                yield image
    except FileNotFoundError as error:
        raise ValueError("the file does not exist") from error
    except UnidentifiedImageError as error:
        raise ValueError(
            "the file is not a picture that can be read (empty, or a web page under this name?)"
        ) from error


def check_mode(image: Image.Image) -> None:
    """Raise a `ValueError` for pixels of more than 8 bits per channel."""
    if image.mode not in _EIGHT_BIT_MODES:
        raise ValueError(
            f"pixels of type {image.mode!r} have no fixed range: convert the picture to 8 bits per "
            "channel"
        )


def check_image_file(path: str) -> None:
    """Check that a file is a picture that `open_picture` accepts, without decoding its pixels.

    Raises:
        ValueError: as for `open_picture`.
        OSError: as for `open_picture`.
        SyntaxError: a checksum of a PNG file is wrong.
    """
    with open_picture(path) as image:
        # NOTE: after the EXIF tags of a damaged PNG are read, Pillow hides the damage, and
        # Detectron2 would continue with a black picture. Checking the checksums takes 1 ms.
        if image.format == "PNG":
            image.verify()


def absent_files(paths: Iterable[str]) -> list[str]:
    """Return the paths of files or folders that do not exist, listing each parent folder once."""
    by_folder = defaultdict(list)
    for path in paths:
        by_folder[os.path.dirname(path)].append(path)
    absent = []
    for folder, inside in by_folder.items():
        try:
            listed = set(os.listdir(folder))
        except (OSError, ValueError):  # absent, or its permissions do not allow listing
            listed = set()
        suspects = [path for path in inside if os.path.basename(path) not in listed]
        # A file system that ignores case can open names that it does not list.
        absent += [path for path in suspects if not os.path.exists(path)]
    return absent


def missing_files(paths: Sequence[str], root: str | os.PathLike) -> list[str]:
    """Return the paths that do not exist.

    Args:
        paths: of images.
        root: their folder, for the message.

    Raises:
        UserError: all of them are missing.
    """
    missing = absent_files(paths)
    if missing and len(missing) == len(paths):
        what = "exists, but not one" if os.path.isdir(root) else "does not exist, so none"
        raise UserError(
            f"Image folder {root} {what} of the {len(paths)} images was found (such as "
            f"{missing[0]}): correct the folder, or file_name in the annotation file."
        )
    return missing


def unreadable_files(paths: Sequence[str], at_most: int = 1000) -> dict[str, str]:
    """Check up to ``at_most`` evenly spaced image files, and return {path: reason} of bad ones.

    1000 files take about a second from a local disk. The mapper handles the other files, and faults
    that appear only in decoding (a truncated JPEG).
    """
    reasons = {}
    for path in paths[:: -(-len(paths) // at_most) or 1]:
        try:
            check_image_file(path)
        except Exception as error:
            reasons[path] = str(error)
    return reasons
