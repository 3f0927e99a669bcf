"""The forms of a picture that `Predictor` takes."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from mvit_det.data.image_files import PictureFormat
from mvit_det.errors import UserError, printable
from mvit_det.predict.open_frames import check_bgr
from mvit_det.predict.sources import Picture


def to_bgr(image: Any, pictures: PictureFormat) -> np.ndarray:
    """Return a picture as an array (H, W, 3) uint8, BGR.

    Args:
        image: the path of an image file; a picture of Pillow; an array (H, W, 3) uint8, BGR; or a
            tensor (3, H, W) uint8, RGB. Files and pictures of Pillow are rotated by their EXIF
            orientation, and converted as in training.
        pictures: the format of files and of pictures of Pillow.

    Raises:
        UserError: it has another type or form, or the file cannot be read.
    """
    if isinstance(image, (str, os.PathLike)):
        path = Path(image)
        try:
            (frame,) = Picture(path, pictures).frames()
        except UserError as error:
            raise UserError(f"Picture {printable(path)} cannot be used: {error}.") from error
        return frame.image
    if isinstance(image, Image.Image):
        try:
            upright = ImageOps.exif_transpose(pictures.to_8_bits(image))
            pixels = np.asarray(upright.convert("RGB"))
            return np.ascontiguousarray(pixels[..., ::-1])
        except (OSError, ValueError) as error:  # a truncated file is decoded here
            raise UserError(f"A picture of Pillow cannot be used: {error}.") from error
    if isinstance(image, torch.Tensor):
        if image.dim() != 3 or len(image) != 3 or image.dtype != torch.uint8:
            raise UserError(
                "A tensor must be one picture (3, H, W) of torch.uint8 in the order RGB, as "
                f"torchvision.io.read_image returns it, not {image.dtype} of shape "
                f"{tuple(image.shape)}: convert values from 0 to 1 with (x * 255).round().byte(), "
                "and give a batch as a list."
            )
        return np.ascontiguousarray(image.cpu().numpy().transpose(1, 2, 0)[..., ::-1])
    if not isinstance(image, np.ndarray):
        raise UserError(
            "Predictor takes the path of a picture, an array (H, W, 3) of uint8 in the order BGR, "
            "a picture of Pillow, a tensor (3, H, W) of uint8 in the order RGB, or a list of "
            f"these, not {type(image).__name__} (cv2.imread returns None if it cannot read a file)."
        )
    check_bgr(image, 3, "A picture must be an array (H, W, 3)")
    return image
