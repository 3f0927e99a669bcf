"""The one transform that fvcore lacks: resizing by Pillow."""

import numpy as np
from fvcore.transforms.transform import Transform
from PIL import Image


class ResizeTransform(Transform):
    """Resize an image of (h, w) pixels to (new_h, new_w).

    ``interp`` is a resampling filter of Pillow; bilinear by default.
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None):
        super().__init__()
        interp = Image.Resampling.BILINEAR if interp is None else interp
        self._set_attributes(dict(h=h, w=w, new_h=new_h, new_w=new_w, interp=int(interp)))

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize bytes of shape (H, W) or (H, W, C)."""
        fits = img.shape[:2] == (self.h, self.w) and img.dtype == np.uint8
        assert fits, f"{self} cannot resize a {img.dtype} array of shape {img.shape}."
        gray = img.ndim == 3 and img.shape[2] == 1  # Pillow has no (H, W, 1)
        picture = Image.fromarray(np.ascontiguousarray(img[..., 0] if gray else img))
        interp = self.interp if interp is None else interp
        resized = np.asarray(picture.resize((self.new_w, self.new_h), interp))
        return resized[..., None] if gray else resized

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
