"""From the place of an image to what a classifier takes; bad images are survived."""

import io
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from mvit_det.data.bad_images import BadImages
from mvit_det.data.images import NO_PICTURE, check_pixel_type


class ImageMapper:
    """Reads an image from its file or tar file, decodes it to RGB, and transforms it.

    Bad is an image that is missing, cannot be decoded, is beyond Pillow's limit of pixels, or has
    more than 8 bits per channel. Each is logged once. In training the result is None, for which
    `build_train_loader` takes another image, until there are too many (see `BadImages`). In testing
    its "inputs" are zeros and "unreadable" tells the reason, so that evaluators can leave it out and
    count it.

    Args:
        transform: from a picture of Pillow to a float tensor (3, H, W).
        exif_transpose: turn pictures as their EXIF orientation says, which photographs of one's own
            need. The released code does not, and ImageNet holds hardly any such picture.
        max_bad_share, min_seen: the largest share of bad images, and from how many images on it
            is judged.
    """

    def __init__(
        self,
        is_train: bool,
        *,
        transform: Callable[[Image.Image], torch.Tensor],
        exif_transpose: bool = False,
        max_bad_share: float = 0.1,
        min_seen: int = 100,
    ):
        self.is_train = is_train
        self.transform = transform
        self.exif_transpose = exif_transpose
        self.bad_images = BadImages(is_train, max_bad_share, min_seen, "left out of the accuracy")
        self._blank: torch.Tensor | None = None

    def __call__(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """One sample: "inputs" (3, H, W), "labels", "file_name", and in testing "unreadable"."""
        samples = self.repeated(item, 1)
        return samples and samples[0]

    def repeated(self, item: dict[str, Any], count: int) -> list[dict[str, Any]] | None:
        """``count`` samples of one image, which is decoded once and augmented anew for each."""
        file_name = item["file_name"]
        self.bad_images.asked_for(file_name)
        reason = None
        try:
            picture = _decoded(_read(item), self.exif_transpose)
        except Exception as error:  # decoders fail in many ways
            reason = str(error) or type(error).__name__
            self.bad_images.add(file_name, "", reason)
            if self.is_train:
                return None
            views = [self._zeros()] * count
        else:
            views = [self._transformed(picture, file_name) for _ in range(count)]
        known = {"labels": item["label"], "file_name": file_name}
        if not self.is_train:
            known["unreadable"] = reason
        return [{"inputs": view, **known} for view in views]

    def _transformed(self, picture: Image.Image, file_name: str) -> torch.Tensor:
        try:
            return self.transform(picture)
        except Exception as error:
            raise RuntimeError(
                f"Image {file_name} reads well, but its transform failed: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _zeros(self) -> torch.Tensor:
        if self._blank is None:
            self._blank = torch.zeros_like(self.transform(Image.new("RGB", (64, 64))))
        return self._blank


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
