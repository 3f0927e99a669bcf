"""From the place of an image to what a classifier takes; bad images are survived."""

import io
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from mvit_det.data.image_files import NO_PICTURE, check_pixel_type
from mvit_det.data.sample_mapper import SampleMapper


class ImageMapper(SampleMapper):
    """Reads an image from its file or tar file, decodes it to RGB, and transforms it.

    Bad is an image that is missing, cannot be decoded, is beyond Pillow's limit of pixels, or has
    more than 8 bits per channel; see `SampleMapper` for what becomes of it.

    Args:
        transform: from a picture of Pillow to a float tensor (3, H, W).
        exif_transpose: turn pictures as their EXIF orientation says, which photographs of one's own
            need. The released code does not, and ImageNet holds hardly any such picture.
        max_bad_share, min_seen: as for `SampleMapper`.
    """

    kind = "image"

    def __init__(self, is_train: bool, *, exif_transpose: bool = False, **options: Any):
        super().__init__(is_train, **options)
        self.exif_transpose = exif_transpose

    def read(self, item: dict[str, Any]) -> Image.Image:
        """The picture of an item."""
        return _decoded(_read(item), self.exif_transpose)

    def blank(self) -> Image.Image:
        """A small black picture."""
        return Image.new("RGB", (64, 64))


def _read(item: dict[str, Any]) -> bytes:
    try:
        if "shard" not in item:
            with open(item["file_name"], "rb") as file:
                return file.read()
        with open(item["shard"], "rb") as file:
            file.seek(item["offset"])
            return file.read(item["size"])
    except FileNotFoundError as error:
        raise ValueError("the file does not exist") from error


def _decoded(content: bytes, exif_transpose: bool) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content)) as image:
            check_pixel_type(image)
            if exif_transpose:
                ImageOps.exif_transpose(image, in_place=True)
            return image.convert("RGB")
    except UnidentifiedImageError as error:
        raise ValueError(NO_PICTURE) from error
