"""The one transform that fvcore lacks: resizing by Pillow."""

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.transforms.transform import Transform
from PIL import Image

# Pillow reads bytes alone; arrays of floats are resized by torch, in the mode of the same name.
_TORCH_MODES = {
    Image.Resampling.NEAREST: dict(mode="nearest"),
    Image.Resampling.BILINEAR: dict(mode="bilinear", align_corners=False),
    Image.Resampling.BICUBIC: dict(mode="bicubic", align_corners=False),
}


def _resize_bytes(image: np.ndarray, height: int, width: int, interp: int) -> np.ndarray:
    # Pillow has no (H, W, 1).
    gray = image.ndim == 3 and image.shape[2] == 1
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if gray else image))
    resized = np.asarray(picture.resize((width, height), interp))
    return resized[..., None] if gray else resized


def _resize_floats(image: np.ndarray, height: int, width: int, interp: int) -> np.ndarray:
    planes = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(image)))
    # (H, W, C) -> (1, C, H, W) -> (new H, new W, C)
    planes = F.interpolate(planes.movedim(2, 0)[None], (height, width), **_TORCH_MODES[interp])
    resized = planes[0].movedim(0, 2).numpy()
    return resized if image.ndim == 3 else resized[..., 0]


class ResizeTransform(Transform):
    """Resize an image of (h, w) pixels to (new_h, new_w).

    Args:
        interp: a resampling filter of Pillow; bilinear by default. Floats take nearest, bilinear
            and bicubic only, and without the antialiasing that Pillow gives to bytes.
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None):
        super().__init__()
        interp = Image.Resampling.BILINEAR if interp is None else interp
        self._set_attributes(dict(h=h, w=w, new_h=new_h, new_w=new_w, interp=int(interp)))

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize (H, W) or (H, W, C), keeping the type of its numbers."""
        assert img.ndim in (2, 3) and img.shape[:2] == (
            self.h,
            self.w,
        ), f"{self} cannot resize an array of shape {img.shape}."
        resize = _resize_bytes if img.dtype == np.uint8 else _resize_floats
        return resize(img, self.new_h, self.new_w, self.interp if interp is None else interp)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale (N, 2) points (x, y) in place; whole numbers are cut off to whole numbers."""
        for axis, scale in enumerate((self.new_w / self.w, self.new_h / self.h)):
            coords[:, axis] = coords[:, axis] * scale
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize a label map or mask, mixing no labels."""
        return self.apply_image(segmentation, interp=Image.Resampling.NEAREST)

    def inverse(self) -> "ResizeTransform":
        """The resize back to the old size."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)
