"""Transforms that fvcore lacks: by Pillow, by OpenCV, and of colours."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fvcore.transforms import transform as tf
from PIL import Image
from torch.nn.functional import interpolate

# Filters of Pillow as integers, as Detectron2 writes them into configs.
NEAREST, BILINEAR = Image.Resampling.NEAREST.value, Image.Resampling.BILINEAR.value
_TORCH_MODES = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # by filter of Pillow


def _pil_apply(image: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Apply ``change`` to uint8 (H, W) or (H, W, C) by Pillow, which lacks (H, W, 1)."""
    gray = image.ndim == 3 and image.shape[2] == 1
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if gray else image))
    changed = np.asarray(change(picture))
    return changed[..., None] if gray else changed


class ResizeTransform(tf.Transform):
    """Resize an image of (h, w) pixels to (new_h, new_w).

    ``interp`` is a resampling filter of Pillow; bilinear by default.
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None):
        super().__init__()
        interp = BILINEAR if interp is None else interp
        self._set_attributes(dict(h=h, w=w, new_h=new_h, new_w=new_w, interp=int(interp)))

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize (H, W) or (H, W, C): uint8 by Pillow; floats by torch, without antialiasing."""
        assert img.shape[:2] == (self.h, self.w), f"{self} cannot resize shape {img.shape}."
        interp = self.interp if interp is None else interp
        if img.dtype == np.uint8:
            return _pil_apply(img, lambda picture: picture.resize((self.new_w, self.new_h), interp))
        mode = _TORCH_MODES[interp]
        planes = torch.from_numpy(np.ascontiguousarray(img)).reshape(1, self.h, self.w, -1)
        planes = interpolate(planes.movedim(-1, 1), (self.new_h, self.new_w), mode=mode)
        return planes.movedim(1, -1).reshape(self.new_h, self.new_w, *img.shape[2:]).numpy()

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale (N, 2) points (x, y) in place; an array of integers truncates the results."""
        for axis, scale in enumerate((self.new_w / self.w, self.new_h / self.h)):
            coords[:, axis] = coords[:, axis] * scale
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize a label map or mask (H, W), without interpolation."""
        return self.apply_image(segmentation, interp=NEAREST)

    def inverse(self) -> "ResizeTransform":
        """Return the transform back to the old size."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


class ExtentTransform(tf.Transform):
    """Crop ``src_rect``, (x0, y0, x1, y1) in pixels, and resize it to ``output_size``, (h, w).

    Pixels outside of the image are ``fill``. ``interp`` is a resampling filter of Pillow.
    """

    def __init__(self, src_rect, output_size, interp=BILINEAR, fill=0):
        super().__init__()
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Crop and resize uint8 (H, W) or (H, W, C)."""
        size, method = self.output_size[::-1], Image.Transform.EXTENT
        interp = interp or self.interp  # NOTE: 0 (nearest) selects the default, as in Detectron2
        options = dict(resample=interp, fill=self.fill)
        return _pil_apply(img, lambda p: p.transform(size, method, self.src_rect, **options))

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Move and scale (N, 2) points (x, y); return float32."""
        near, far = np.reshape(self.src_rect, (2, 2))
        size = np.array(self.output_size[::-1])
        moved = coords.astype(np.float32)
        moved -= 0.5 * (near + far)
        moved *= size / (far - near)
        moved += 0.5 * size
        return moved

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Crop and resize a label map or mask (H, W)."""
        return self.apply_image(segmentation, interp=NEAREST)


class RotationTransform(tf.Transform):
    """Rotate an image of (h, w) pixels by ``angle`` degrees, counter-clockwise.

    With ``expand`` the result has the size of the whole rotated image; otherwise it is cut to
    (h, w), and ``center``, (x, y) in pixels, does not move. ``interp`` is a flag of OpenCV,
    bilinear by default.
    """

    def __init__(self, h, w, angle, expand=True, center=None, interp=None):
        super().__init__()
        center = (w / 2, h / 2) if center is None else center
        interp = 1 if interp is None else interp  # OpenCV's bilinear
        cos, sin = abs(np.cos(np.deg2rad(angle))), abs(np.sin(np.deg2rad(angle)))
        bounds = np.rint([h * sin + w * cos, h * cos + w * sin]).astype(int).tolist()
        bound_w, bound_h = bounds if expand else (w, h)
        self._set_attributes(locals())
        self.rm_coords = self._matrix(0.0)
        # The origin of OpenCV is the centre of the first pixel.
        self.rm_image = self._matrix(-0.5)

    def _matrix(self, offset: float) -> np.ndarray:
        """Return the (2, 3) matrix for points in the coordinates of corners plus ``offset``."""
        import cv2  # late, because only rotations need it

        x, y = self.center
        matrix = cv2.getRotationMatrix2D((x + offset, y + offset), self.angle, 1)
        if self.expand:
            middle = matrix @ [self.w / 2 + offset, self.h / 2 + offset, 1]
            matrix[:, 2] += np.array([self.bound_w / 2, self.bound_h / 2]) + offset - middle
        return matrix

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Rotate (H, W) or (H, W, C); pixels outside of the image become 0."""
        import cv2

        if len(img) == 0 or self.angle % 360 == 0:
            return img
        assert img.shape[:2] == (self.h, self.w), f"{self} cannot rotate shape {img.shape}."
        interp = self.interp if interp is None else interp
        return cv2.warpAffine(img, self.rm_image, (self.bound_w, self.bound_h), flags=interp)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Rotate (N, 2) points (x, y)."""
        coords = np.asarray(coords, dtype=float)
        if len(coords) == 0 or self.angle % 360 == 0:
            return coords
        return coords @ self.rm_coords[:, :2].T + self.rm_coords[:, 2]

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Rotate a label map or mask (H, W), without interpolation."""
        return self.apply_image(segmentation, interp=0)  # OpenCV's nearest

    def inverse(self) -> tf.TransformList:
        """Return the rotation back and the crop to the old size.

        Raises:
            NotImplementedError: without ``expand``, because corners are lost.
        """
        if not self.expand:
            raise NotImplementedError("A rotation without expand has no inverse: it cuts corners.")
        back = RotationTransform(self.bound_h, self.bound_w, -self.angle, interp=self.interp)
        left, top = (back.bound_w - self.w) // 2, (back.bound_h - self.h) // 2
        return tf.TransformList([back, tf.CropTransform(left, top, self.w, self.h)])


class ColorTransform(tf.Transform):
    """Apply ``op``, a function from an array to an array of the same size; points do not move.

    Raises:
        ValueError: ``op`` is not callable.
    """

    def __init__(self, op: Callable[[Any], Any]):
        if not callable(op):
            raise ValueError(f"op must be a function of an image, not {op!r}.")
        super().__init__()
        self._set_attributes(locals())

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Apply ``op`` to an image (H, W[, C])."""
        return self.op(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Return the points unchanged."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Return the labels unchanged."""
        return segmentation

    def inverse(self) -> tf.Transform:
        """Return a transform without effect: results have no colours to restore."""
        return tf.NoOpTransform()


class PILColorTransform(ColorTransform):
    """Apply ``op``, a function from a Pillow image to a Pillow image of the same size."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Apply ``op`` to an image (H, W[, C]), uint8."""
        return np.asarray(self.op(Image.fromarray(img)))
