"""The check of one picture: it is decoded completely, at reduced size where its format allows."""

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps

from mvit_det.data.checks.findings import FileReport, Finding
from mvit_det.data.image_files import (
    ORIENTATION,
    check_image_file,
    current_pictures,
    has_deep_colour,
    open_picture,
)

_REDUCED = 128  # pixels: a JPEG is decoded to not much more than this side, twice as fast
THUMBNAIL = 32  # pixels
# Pictures whose thumbnails differ by less than this share of their contrast, or by this many grey
# levels, are near-duplicates: a copy that is resized and compressed again differs by far less.
_SHARE, _LEVELS = 0.1, 1.5
_ENLARGED = 4  # times, from which on a picture is small
_CUT = ("truncated", "broken data stream")


@dataclass(frozen=True)
class Picture:
    """What is read of a picture.

    Attributes:
        findings: its faults.
        digest: of its bytes.
        hash: of 64 bits: which of two neighbours in 8 x 9 grey values is brighter.
        size: width and height in pixels, upright; None if it cannot be decoded.
        orientation: of its EXIF data, 1 to 8.
    """

    findings: list[Finding]
    digest: int | None = None
    hash: int | None = None
    size: tuple[int, int] | None = None
    orientation: int = 1


def read_picture(path: str, offset: int = 0, size: int | None = None, **ids: Any) -> Picture:
    """Decode a picture as training does, up to the scale, and collect its faults.

    Args:
        path: of the file, or of the tar file that it is in.
        offset: position in bytes at which it begins.
        size: in bytes; None: up to the end of the file.
        **ids: of its findings.
    """

    def fault(severity: Any, kind: str, message: str) -> Finding:
        return Finding(severity, kind, message, path, ids, picture=path if size is None else "")

    try:
        with PathManager.open(path, "rb") as file:
            file.seek(offset)
            content = file.read() if size is None else file.read(size)
    except (OSError, ValueError) as error:
        kind = "missing file" if isinstance(error, FileNotFoundError) else "unreadable picture"
        reason = getattr(error, "strerror", None) or error
        return Picture([fault("error", kind, f"it cannot be opened ({reason}): correct the path")])
    digest = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
    findings = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if size is None:
                check_image_file(path)  # as the mapper does: the checksums of a PNG
            with open_picture(path, offset, size) as image:
                if has_deep_colour(image) and current_pictures().value_range is None:
                    message = (
                        "it has 16 bits per channel, read with the range 0 to 65535: set "
                        "dataloader.pictures.value_range if its values have another"
                    )
                    findings.append(fault("warning", "16 bits per channel", message))
                upright, orientation, hash = _decode(image)
    except Exception as error:  # decoders fail in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        cut = any(word in reason for word in _CUT)
        advice = "get the whole file again" if cut else "repair or remove it"
        message = f"it cannot be decoded, and training skips it ({reason}): {advice}"
        if isinstance(error, ValueError) and ":" in reason:  # has its own advice
            message = f"it cannot be used: {reason}"
        kind = "cut picture" if cut else "unreadable picture"
        return Picture([*findings, fault("error", kind, message)], digest)
    return Picture(findings, digest, hash, upright, orientation)


def _decode(image: Image.Image) -> tuple[tuple[int, int], int, int]:
    """Return (width, height) of the upright picture, the EXIF orientation, and the hash."""
    orientation = image.getexif().get(ORIENTATION, 1)
    size = image.size[::-1] if orientation in range(5, 9) else image.size
    image.draft("L", (_REDUCED, _REDUCED))
    image.load()
    return size, orientation, difference_hash(image)


def difference_hash(image: Image.Image) -> int:
    """Return 64 bits: which of two neighbours in 8 x 9 grey values is brighter."""
    grey = thumbnail(image, (9, 8))
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")


def thumbnail(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Return grey values uint8 of ``size`` (width, height), upright by the EXIF orientation."""
    small = image.convert("RGB") if image.mode in ("P", "PA") else image
    small = ImageOps.exif_transpose(small.convert("L"))
    return np.asarray(small.resize(size, Image.Resampling.BOX))


@dataclass(frozen=True)
class PictureCheck:
    """The check of a picture that has no annotation but its class.

    Attributes:
        path: of the file, or of the tar file that it is in.
        name: path in the tar file; "" if it is a file.
        offset: position in bytes at which it begins.
        size: in bytes; None: the whole file.
        turns: whether the mapper applies the EXIF orientation.
        side: of the model's input in pixels; 0: unknown.
    """

    path: str
    name: str = ""
    offset: int = 0
    size: int | None = None
    turns: bool = True
    side: int = 0

    def run(self) -> FileReport:
        """Decode the picture."""
        ids = {"name": self.name} if self.name else {}
        read = read_picture(self.path, self.offset, self.size, **ids)
        findings = read.findings
        shown = "" if self.name else self.path
        if read.orientation != 1 and read.size and not self.turns:
            message = (
                f"its EXIF orientation {read.orientation} is ignored, so that it is trained as "
                "stored: set exif_transpose=true of both mappers"
            )
            kind = "EXIF orientation"
            findings.append(Finding("warning", kind, message, self.path, ids, shown))
        if read.size and min(read.size) * _ENLARGED < self.side:
            width, height = read.size
            message = (
                f"it has {width} x {height} pixels, which are enlarged to {self.side}: use a "
                "larger copy, or a smaller input of the model"
            )
            rank = min(read.size)
            kind = "small picture"
            findings.append(Finding("note", kind, message, self.path, ids, shown, rank=rank))
        # those of a tar file are not compared with others
        return FileReport(findings, read.digest, None if self.name else read.hash)


def picture_checks(
    dataset: Iterable[Mapping[str, Any]], turns: bool, side: int
) -> Iterator[PictureCheck]:
    """Yield the check of each image of a data set for classification.

    Args:
        dataset: items with "file_name", and "shard", "offset" and "size" for those of tar files.
        turns: as for `PictureCheck`.
        side: as for `PictureCheck`.
    """
    for item in dataset:
        if "shard" in item:
            name = os.path.relpath(item["file_name"], item["shard"])
            place = name, item["offset"], item["size"]
            yield PictureCheck(item["shard"], *place, turns=turns, side=side)
        elif "file_name" in item:
            yield PictureCheck(item["file_name"], turns=turns, side=side)


@dataclass(frozen=True)
class SimilarCheck:
    """The comparison of two pictures of similar hashes, one for training and one for validation.

    Attributes:
        path: of the picture for validation.
        other: of the picture for training.
    """

    path: str
    other: str

    def run(self) -> FileReport:
        """Compare thumbnails of both."""
        grey = []
        for path in (self.path, self.other):
            with warnings.catch_warnings(), open_picture(path) as image:
                warnings.simplefilter("ignore")
                image.draft("L", (_REDUCED, _REDUCED))
                grey.append(thumbnail(image, (THUMBNAIL, THUMBNAIL)).astype(float))
        first, second = (values - values.mean() for values in grey)
        limit = max(_LEVELS, _SHARE * (first.std() + second.std()) / 2)
        if np.abs(first - second).mean() > limit:
            return FileReport([])
        return FileReport([near_duplicate(self.path, self.other, "looks like")])


def near_duplicate(path: str, other: str, relation: str) -> Finding:
    """Describe a picture for validation that is for training as well."""
    message = (
        f"{relation} {other} of the training data, so that the metric is too high: remove it from "
        "one of the two"
    )
    return Finding("warning", "near-duplicate", message, path, picture=path, other=other)
