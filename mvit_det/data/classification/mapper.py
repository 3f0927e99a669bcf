"""Mapper from an image file to the input of a classifier; bad images are skipped."""

from typing import Any

from PIL import Image, ImageOps

from mvit_det.data.image_files import current_pictures, open_picture
from mvit_det.data.sample_mapper import SampleMapper


class ImageMapper(SampleMapper):
    """Reads an image from its file or tar file, decodes it to RGB, and transforms it.

    An image is bad if it is missing, cannot be decoded, or does not suit the `PictureFormat`
    (number of pixels, more than 8 bits per channel); see `SampleMapper` for how it is handled.

    Args:
        transform: from an RGB picture of Pillow to a float tensor (3, H, W).
        exif_transpose: apply the EXIF orientation, which custom photographs need. The released code
            does not apply it, and ImageNet has hardly any such picture.
        max_bad_share: as for `SampleMapper`.
        min_seen: as for `SampleMapper`.
    """

    kind = "image"

    def __init__(self, is_train: bool, *, exif_transpose: bool = False, **options: Any):
        super().__init__(is_train, **options)
        self.exif_transpose = exif_transpose
        self.pictures = current_pictures()  # processes of the loader may not inherit it

    def read(self, item: dict[str, Any]) -> Image.Image:
        """Decode the image of an item to an RGB picture of Pillow.

        Raises:
            ValueError: the image is bad, like all other errors of Pillow; see `open_picture`.
        """
        path = item.get("shard", item["file_name"])
        part = item.get("offset", 0), item.get("size")
        with open_picture(path, *part, format=self.pictures) as image:
            if self.exif_transpose:
                ImageOps.exif_transpose(image, in_place=True)
            return image.convert("RGB")

    def blank(self) -> Image.Image:
        """Return a black RGB picture of 64 x 64 pixels."""
        return Image.new("RGB", (64, 64))
