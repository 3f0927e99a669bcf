"""Bands of TIFF files that have more of them than Pillow decodes, such as satellite images."""

import io
import operator
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 259, 262, 277
_ROWS, _PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _KIND = 278, 284, 317, 322, 323, 339
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and sizes in bytes
_PREDICTED = (5, 8, 32946, 50000)  # LZW, Deflate and Zstandard: the methods with a predictor
_LOSSLESS = (1, 32773, 34925, *_PREDICTED)


class TiffBands:
    """The first image of a TIFF file, band by band.

    Pillow decodes gray TIFF files, so the file is described to it as one whose pixels are the bytes
    of all values: those of one band if bands are stored one after the other, else those of all.

    Args:
        file: opened, at its start.

    Attributes:
        size: (W, H).
        count: number of bands.
        bits: of each value.
        is_8_bit: whether values are from 0 to 255.

    Raises:
        ValueError: the file is no TIFF.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = file.read(8)
        if head[:4] in (b"II+\0", b"MM\0+"):  # BigTIFF
            head += file.read(8)
        try:
            self._tags = TiffImagePlugin.ImageFileDirectory_v2(head)
            file.seek(self._tags.next)
            self._tags.load(file)
            self.size = self._tags[_WIDTH], self._tags[_HEIGHT]
            self.count = operator.index(self._tags.get(_SAMPLES, 1))
            self.bits = max(self._tags.get(_BITS, (1,)))
            self._kind = {1: "u", 2: "i", 3: "f"}.get(self._tags.get(_KIND, (1,))[0])
        except Exception as error:  # whatever else a file is
            raise ValueError("the file is not a TIFF") from error
        self.is_8_bit = self.bits == 8 and self._kind == "u"
        self._is_big = len(head) == 16
        self._order = "<" if head[:2] == b"II" else ">"

    def check(self, bands: Sequence[int]) -> None:
        """Raise a `ValueError` if the file lacks bands (from 1), or they cannot be decoded."""
        if max(bands) > self.count:
            raise ValueError(f"it has {self.count} bands, and not bands={list(bands)}")
        compression, predictor = self._tags.get(_COMPRESSION, 1), self._tags.get(_PREDICTOR, 1)
        types = self._tags.get(_BITS, (1,)), self._tags.get(_KIND, (1,))
        reasons = {
            "more than 4 GB (BigTIFF)": self._is_big,
            f"values of {self.bits} bits": self.bits not in (8, 16, 32, 64),
            "complex values": self._kind is None,
            "bands of different types": any(len({*each}) > 1 for each in types),
            f"compression {compression}": compression not in _LOSSLESS,
            f"predictor {predictor}": predictor > 2,
        }
        listed = [reason for reason, holds in reasons.items() if holds]
        if listed:
            raise ValueError(
                f"bands of a TIFF with {', '.join(listed)} cannot be decoded: convert it, e.g. by "
                "gdal_translate -co COMPRESS=DEFLATE -co INTERLEAVE=BAND IN.tif OUT.tif"
            )

    def read(self, bands: Sequence[int]) -> np.ndarray:
        """Decode bands, numbered from 1: (H, W, len(bands)) of the type of the file."""
        self.check(bands)
        indices = [band - 1 for band in bands]
        if self._tags.get(_PLANAR, 1) == 2:  # one band after the other
            values = np.concatenate([self._samples(1, self._parts(k)) for k in indices], axis=2)
        else:
            values = self._samples(self.count, {})[..., indices]
        return np.ascontiguousarray(values).view(f"{self._kind}{self.bits // 8}")

    def _parts(self, band: int) -> dict[int, tuple[int, ...]]:
        """Return the tags of the strips or tiles of one band."""
        tags = {tag: self._tags[tag] for tag in (*_STRIPS, *_TILES) if tag in self._tags}
        each = len(next(iter(tags.values()))) // self.count
        return {tag: numbers[band * each : (band + 1) * each] for tag, numbers in tags.items()}

    def _samples(self, count: int, parts: dict[int, tuple[int, ...]]) -> np.ndarray:
        """Decode (H, W, count) unsigned integers, of the size of a value."""
        width, height = self.size
        size = self.bits // 8
        step = self._tags.get(_TILE_WIDTH, width)
        changes = {_WIDTH: width * count * size, _BITS: 8, _KIND: 1, _PREDICTOR: 1, **parts}
        if _TILE_WIDTH in self._tags:
            changes[_TILE_WIDTH] = step * count * size
        stored = self._gray(changes).view(f"{self._order}u{size}").reshape(height, width, count)
        values = stored.astype(f"u{size}")
        if self._tags.get(_PREDICTOR, 1) == 2 and self._tags.get(_COMPRESSION) in _PREDICTED:
            # each is the difference from its left neighbour, in each row of a strip or tile
            for start in range(0, width, step):
                part = values[:, start : start + step]
                part[:] = part.cumsum(axis=1, dtype=values.dtype)
        return values

    def _gray(self, changes: dict[int, Any]) -> np.ndarray:
        """Decode the file as a gray image, with some tags changed."""
        kept = (_HEIGHT, _COMPRESSION, _ROWS, _TILE_HEIGHT, *_STRIPS, *_TILES)
        tags = {tag: self._tags[tag] for tag in kept if tag in self._tags}
        tags |= {_SAMPLES: 1, _PHOTOMETRIC: 1, **changes}
        self._file.seek(0)
        content = self._file.read()
        content += bytes(len(content) % 2)  # a directory starts at an even position
        start = len(content) + 2 + 12 * len(tags) + 4  # of the values that do not fit into a row
        directory, values = struct.pack(self._order + "H", len(tags)), b""
        for tag, value in sorted(tags.items()):
            numbers = value if isinstance(value, tuple) else (value,)
            encoded = struct.pack(f"{self._order}{len(numbers)}I", *numbers)
            if len(numbers) > 1:
                place, values = start + len(values), values + encoded
                encoded = struct.pack(self._order + "I", place)
            directory += struct.pack(self._order + "HHI", tag, 4, len(numbers)) + encoded
        head = content[:4] + struct.pack(self._order + "I", len(content))
        gray = b"".join((head, content[8:], directory, bytes(4), values))
        with Image.open(io.BytesIO(gray)) as image:
            return np.array(image)
