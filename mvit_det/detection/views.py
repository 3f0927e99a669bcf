"""Views of an image for multi-scale testing, and conversion of boxes and masks between them.

Legend: N boxes, M = side of a mask over a box. Sizes are (height, width) in pixels; boxes are XYXY
in pixels, continuous.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.data import transforms as T

from mvit_det.errors import UserError


@dataclass(frozen=True)
class View:
    """An image resized to ``size``, then mirrored left-right if ``mirrored``.

    A *frame* is the same image at any size and not mirrored; boxes are converted between the two,
    exactly where both have the same size.
    """

    size: tuple[int, int]
    mirrored: bool = False

    def apply_image(self, image: torch.Tensor) -> torch.Tensor:
        """Resize an image to this view as Detectron2's mapper does, and mirror it.

        Args:
            image: (C, H, W), 0 to 255; uint8 if it has to be resized.

        Returns:
            (C, *size).

        Raises:
            UserError: the image has to be resized and is not uint8.
        """
        height, width = image.shape[-2:]
        if (height, width) != self.size:
            if image.dtype != torch.uint8:
                raise UserError(
                    f"An image of type {image.dtype} cannot be resized for test_short_sides: give "
                    "uint8 pixels from 0 to 255, as Detectron2's DatasetMapper does."
                )
            pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
            pixels = T.ResizeTransform(height, width, *self.size).apply_image(pixels)
            image = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).to(image.device)
        return image.flip(-1) if self.mirrored else image

    def boxes_to_frame(self, boxes: torch.Tensor, frame: tuple[int, int]) -> torch.Tensor:
        """Convert boxes (N, 4) from this view to a frame of size ``frame``."""
        return _scale(self._mirror(boxes), self.size, frame)

    def boxes_from_frame(self, boxes: torch.Tensor, frame: tuple[int, int]) -> torch.Tensor:
        """Convert boxes (N, 4) from a frame of size ``frame`` to this view."""
        return self._mirror(_scale(boxes, frame, self.size))

    def masks_to_frame(self, masks: torch.Tensor) -> torch.Tensor:
        """Convert masks (N, 1, M, M) from this view to a frame of any size.

        Only mirroring changes them: the M x M cells divide the box, whatever its size.
        """
        return masks.flip(-1) if self.mirrored else masks

    def _mirror(self, boxes: torch.Tensor) -> torch.Tensor:
        if not self.mirrored:
            return boxes
        left, top, right, bottom = boxes.unbind(dim=1)
        return torch.stack((self.size[1] - right, top, self.size[1] - left, bottom), dim=1)


def _scale(boxes: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    height, width = (after / before for before, after in zip(old, new))
    return boxes * boxes.new_tensor((width, height, width, height))


def plan_views(
    size: tuple[int, int], short_sides: Sequence[int], max_size: int, flip: bool
) -> list[View]:
    """List the views of an image: one per short side, with ``flip`` also its mirror image.

    The long side stays within ``max_size`` by shrinking the short one. If two short sides give the
    same size, it occurs once, since the second view would add nothing.

    Args:
        size: (height, width) of the image in pixels.
        short_sides: in pixels; empty to keep the size of the image.
        max_size: limit of the long side in pixels.
        flip: whether to add mirror images.

    Returns:
        For each size the view as it is and, with ``flip``, mirrored.
    """
    resize = T.ResizeShortestEdge.get_output_shape
    sizes = [resize(*size, short_side, max_size) for short_side in short_sides] or [size]
    # a side of a very long image could vanish
    distinct = dict.fromkeys((max(height, 1), max(width, 1)) for height, width in sizes)
    mirrored = (False, True) if flip else (False,)
    return [View(view_size, mirror) for view_size in distinct for mirror in mirrored]
