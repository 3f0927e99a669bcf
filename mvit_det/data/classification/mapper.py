"""From the place of an image to what a classifier takes; bad images are survived."""

from typing import Any

from PIL import Image, ImageOps

from mvit_det.data.image_files import open_picture
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
        path = item.get("shard", item["file_name"])
        with open_picture(path, item.get("offset", 0), item.get("size")) as image:
            if self.exif_transpose:
                ImageOps.exif_transpose(image, in_place=True)
            return image.convert("RGB")

    def blank(self) -> Image.Image:
        """A small black picture."""
        return Image.new("RGB", (64, 64))
