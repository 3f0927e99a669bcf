"""What can be wrong with image files, as far as it shows without decoding them."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence

from detectron2.utils.file_io import PathManager
from PIL import Image, UnidentifiedImageError

from mvit_det.errors import UserError

# Pillow's modes of 8 bits per channel (or fewer), which it converts to RGB as one expects.
_EIGHT_BIT_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
NO_PICTURE = "the file is no picture that can be read (empty, or a web page under this name?)"


def check_image_file(file_name: str) -> None:
    """Raise an error that says why a file is no picture of 8 bits per channel.

    Pixels are not decoded.
    """
    try:
        with PathManager.open(file_name, "rb") as file, Image.open(file) as image:
            check_pixel_type(image)
            # NOTE: reading the EXIF tags of a damaged PNG makes Pillow swallow the damage, and
            # Detectron2 would go on with a black picture. The checksums tell, in a millisecond.
            if image.format == "PNG":
                image.verify()
    except FileNotFoundError as error:
        raise ValueError("the file does not exist") from error
    except UnidentifiedImageError as error:
        raise ValueError(NO_PICTURE) from error


def check_pixel_type(image: Image.Image) -> None:
    """Refuse more than 8 bits per channel ("I;16", "I", "F").

    They are not scaled, since the file does not tell which value is white: a plain conversion
    would show them all white or all black.
    """
    if image.mode not in _EIGHT_BIT_MODES:
        raise ValueError(
            f"pixels of type {image.mode!r} have no fixed range: convert the picture to 8 bits per "
            "channel"
        )


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
