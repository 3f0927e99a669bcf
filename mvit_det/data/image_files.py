"""Reading image files, and checks of them that do not decode the pixels."""

import io
import logging
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

import cv2
import numpy as np
from detectron2.data import detection_utils
from detectron2.data.detection_utils import read_image as host_read_image
from detectron2.utils.file_io import PathManager
from omegaconf import DictConfig, OmegaConf
from PIL import Image, ImageOps, UnidentifiedImageError

from mvit_det.data.file_kinds import image_formats
from mvit_det.data.tiff_bands import TiffBands
from mvit_det.errors import UserError, check_count, check_range

logger = logging.getLogger(__name__)

# Pillow's modes of at most 8 bits per channel, which it converts to RGB without loss of range.
_EIGHT_BIT_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ORIENTATION = 0x0112  # tag of EXIF


@dataclass(frozen=True)
class PictureFormat:
    """What is read from image files: the keys ``dataloader.pictures`` of a config.

    Args:
        value_range: values that become 0 and 255, in files of more than 8 bits per channel; values
            outside are clipped. None: such gray files are refused, since they do not define which
            value is white, and colour files have the range of their type.
        bands: of TIFF files, the numbers (from 1) of the bands that become red, green and blue.
            None: TIFF files of more than four bands are refused.
        max_pixels: files of more pixels are refused, since a small file may claim any number; None
            for Pillow's limit, 178,956,970.

    Raises:
        UserError: a value is of the wrong type.
    """

    value_range: Sequence[float] | None = None
    bands: Sequence[int] | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if self.value_range is not None:
            check_range("dataloader.pictures", value_range=self.value_range)
            if self.value_range[0] == self.value_range[1]:
                raise UserError(
                    f"value_range={self.value_range} of dataloader.pictures must be two different "
                    "values."
                )
        if self.bands is not None:
            numbers = list(self.bands) if isinstance(self.bands, Sequence) else []
            if len(numbers) != 3 or any(type(k) is not int or k < 1 for k in numbers):
                raise UserError(
                    f"bands={self.bands} of dataloader.pictures must be three numbers from 1, of "
                    "red, green and blue, such as [4,3,2]."
                )
        if self.max_pixels is not None:
            check_count("dataloader.pictures", max_pixels=self.max_pixels)

    def check_mode(self, image: Image.Image) -> bool:
        """Return whether pixels must be converted to 8 bits per channel, without decoding them.

        Raises:
            ValueError: there are too many pixels, or they cannot be converted.
        """
        if self.max_pixels is not None and image.width * image.height > self.max_pixels:
            raise ValueError(_too_large(image.width * image.height, self.max_pixels))
        if image.mode in _EIGHT_BIT_MODES:
            deep = has_deep_colour(image)
            if deep and self.value_range is None:
                _log_deep_colour()
            return deep and self.value_range is not None
        if image.mode not in _DEEP_MODES:
            raise ValueError(f"colours of type {image.mode!r} are not known: convert them to RGB")
        self._check_range(f"type {image.mode!r}")
        return True

    def _check_range(self, kind: str) -> None:
        if self.value_range is None:
            raise ValueError(
                f"pixels of {kind} have no fixed range: set dataloader.pictures.value_range, such "
                "as [0,65535], or convert the picture to 8 bits per channel"
            )

    def check_bands(self, tiff: TiffBands) -> None:
        """Raise a `ValueError` if the bands of a file cannot be read."""
        limit = self.max_pixels or 2 * (Image.MAX_IMAGE_PIXELS or math.inf)
        if tiff.size[0] * tiff.size[1] > limit:
            raise ValueError(_too_large(tiff.size[0] * tiff.size[1], limit))
        assert self.bands is not None
        tiff.check(self.bands)
        if not tiff.is_8_bit:
            self._check_range(f"{tiff.bits} bits")

    def to_8_bits(self, image: Image.Image, file: BinaryIO | None = None) -> Image.Image:
        """Convert a picture to at most 8 bits per channel; its EXIF orientation is kept.

        Args:
            image: of Pillow.
            file: its encoded form; without it, colours of 16 bits per channel are as Pillow
                converts them.
        """
        if not self.check_mode(image) or (file is None and image.mode in _EIGHT_BIT_MODES):
            return image
        if file is None or image.mode in _DEEP_MODES:
            values = np.asarray(image)
        else:  # Pillow drops the lower 8 bits
            file.seek(0)
            encoded = np.frombuffer(file.read(), np.uint8)
            decoded = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
            if decoded is None or decoded.ndim != 3 or decoded.shape[2] < 3:
                raise ValueError("its 16 bits per channel cannot be decoded: convert it to 8 bits")
            values = decoded[..., 2::-1]
        converted = self._scaled(values)
        converted.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
        return converted

    def from_bands(self, tiff: TiffBands) -> Image.Image:
        """Decode `bands` to RGB of 8 bits."""
        assert self.bands is not None
        with _pixel_limit(off=True):  # it has been checked
            values = tiff.read(self.bands)
        return Image.fromarray(values) if tiff.is_8_bit else self._scaled(values)

    def _scaled(self, values: np.ndarray) -> Image.Image:
        assert self.value_range is not None
        low, high = self.value_range
        scaled = (values.astype(np.float32) - low) * (255 / (high - low))
        pixels = np.nan_to_num(scaled, nan=0).clip(0, 255).round().astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(pixels))

    def read(self, path: str, format: str | None = None) -> np.ndarray:
        """Read an image file as Detectron2's `read_image` does, which reads those of 8 bits.

        Returns:
            (H, W, C) uint8, turned upright by its EXIF orientation; ``format`` is "RGB", "BGR",
            "L", or None for that of the file.

        Raises:
            ValueError: as for `open_picture`.
            OSError: as for `open_picture`.
        """
        with _opened(path, self) as (image, _):
            # Pillow turns a TIFF upright when it decodes it, and Detectron2 would do so once more
            as_is = isinstance(image, Image.Image) and not self.check_mode(image)
            as_is = as_is and getattr(image, "format", None) != "TIFF"
        if as_is:
            with _pixel_limit(off=self.max_pixels is not None):
                return host_read_image(path, format)
        with open_picture(path, format=self) as image:
            upright = ImageOps.exif_transpose(image).convert("L" if format == "L" else "RGB")
        pixels = np.asarray(upright)
        return pixels[..., ::-1] if format == "BGR" else pixels.reshape(*pixels.shape[:2], -1)

    @contextmanager
    def in_host(self) -> Iterator[None]:
        """Let Detectron2's `DatasetMapper` read with `read` in the block."""
        detection_utils.read_image = self.read  # type: ignore[assignment]  # its first name differs
        try:
            yield
        finally:
            detection_utils.read_image = host_read_image


def has_deep_colour(image: Image.Image) -> bool:
    """Return whether a file has 16 bits per channel in colour, of which Pillow drops 8."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _too_large(pixels: int, limit: float) -> str:
    return (
        f"its {pixels} pixels exceed the limit of {limit}: if the file is trusted, raise "
        "dataloader.pictures.max_pixels"
    )


@lru_cache(maxsize=1)  # once per process
def _log_deep_colour() -> None:
    logger.warning(
        "There are pictures of 16 bits per channel, read with the range 0 to 65535: set "
        "dataloader.pictures.value_range if theirs is another."
    )


@contextmanager
def _pixel_limit(*, off: bool) -> Iterator[None]:
    """Disable Pillow's limit in the block, or not."""
    limit = Image.MAX_IMAGE_PIXELS
    if off:
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


_current = PictureFormat()


def use_pictures(pictures: PictureFormat) -> None:
    """Set the format of all image files that this process reads."""
    global _current
    _current = pictures


def configured_pictures(cfg: DictConfig) -> PictureFormat:
    """Return the format of a config, its ``dataloader.pictures``; the default if it has none."""
    node = OmegaConf.select(cfg, "dataloader.pictures") or {}
    return PictureFormat(**{key: node[key] for key in node if key != "_target_"})


def current_pictures() -> PictureFormat:
    """Return the format that `use_pictures` has set."""
    return _current


@contextmanager
def open_picture(
    path: str, offset: int = 0, size: int | None = None, *, format: PictureFormat | None = None
) -> Iterator[Image.Image]:
    """Open a picture for a ``with`` block, with at most 8 bits per channel.

    Args:
        path: a file, or a path that Detectron2's `PathManager` opens.
        offset: position in bytes at which the picture begins in the file.
        size: its size in bytes; None: the whole file.
        format: by default that of `use_pictures`.

    Raises:
        ValueError: the file does not exist, is not a picture, or does not suit the format; the
            message is the reason, without the path.
        OSError: the file cannot be read.
    """
    format = format or _current
    with _opened(path, format, offset, size) as (image, file):
        if isinstance(image, TiffBands):
            yield format.from_bands(image)
        else:
            yield format.to_8_bits(image, file)


@contextmanager
def _opened(
    path: str, format: PictureFormat, offset: int = 0, size: int | None = None
) -> Iterator[tuple[Image.Image | TiffBands, BinaryIO]]:
    """Open and check a picture as `open_picture` does, but do not decode it; yield its file too."""
    own = format.max_pixels is not None
    try:
        with PathManager.open(path, "rb") as file, _pixel_limit(off=own):
            file.seek(offset)
            part = file if size is None else io.BytesIO(file.read(size))
            if format.bands is not None and part.read(4) in _TIFF:
                part.seek(offset if size is None else 0)
                tiff = TiffBands(part)
                format.check_bands(tiff)
                yield tiff, part
                return
            part.seek(offset if size is None else 0)
            with Image.open(part, formats=image_formats()) as image:
                format.check_mode(image)
                yield image, part
    except FileNotFoundError as error:
        raise ValueError("the file does not exist") from error
    except Image.DecompressionBombError as error:
        # "Image size (N pixels) exceeds limit of M pixels, ..."
        pixels, limit = map(int, re.findall(r"\d+", str(error))[:2])
        raise ValueError(_too_large(pixels, limit)) from error
    except UnidentifiedImageError as error:
        with PathManager.open(path, "rb") as file:
            raise ValueError(_what_it_is(file)) from error


def _what_it_is(file: Any) -> str:
    """Describe a file that Pillow cannot identify."""
    try:
        tiff = TiffBands(file)
    except ValueError:
        return "the file is not a picture that can be read (empty, or a web page under this name?)"
    return (
        f"it is a TIFF of {tiff.count} bands of {tiff.bits} bits: choose three of them by "
        "dataloader.pictures.bands, such as [4,3,2]"
    )


def check_image_file(path: str, format: PictureFormat | None = None) -> str | None:
    """Check that a file is a picture that `open_picture` accepts, without decoding its pixels.

    Returns:
        The kind of file, "PNG" or another of Pillow's; None for one of which bands are read.

    Raises:
        ValueError: as for `open_picture`.
        OSError: as for `open_picture`.
        SyntaxError: a checksum of a PNG file is wrong.
    """
    with _opened(path, format or _current) as (image, _):
        # NOTE: after the EXIF tags of a damaged PNG are read, Pillow hides the damage, and
        # Detectron2 would continue with a black picture. Checking the checksums takes 1 ms.
        if not isinstance(image, Image.Image):
            return None
        if image.format == "PNG":
            image.verify()
        return image.format


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
