"""Instance masks of one image, as bitmaps or as polygons."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torchvision.ops import masks_to_boxes, roi_align

from .boxes import Boxes, Index, Rows


def polygons_to_bitmask(polygons: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Rasterise the union of polygons, flat arrays (x0, y0, x1, y1, ...) in pixels.

    Returns: (height, width) bool; pixels are inside by the rule of pycocotools.
    """
    if len(polygons) == 0:
        return np.zeros((height, width), dtype=bool)
    parts = coco_mask.frPyObjects([np.asarray(p).tolist() for p in polygons], height, width)
    return coco_mask.decode(coco_mask.merge(parts)).astype(bool)


class BitMasks(Rows):
    """N masks as bitmaps of the image size: ``tensor`` is (N, H, W) bool."""

    def __init__(self, tensor: torch.Tensor | np.ndarray):
        super().__init__(torch.as_tensor(tensor, dtype=torch.bool))
        assert self.tensor.ndim == 3, f"{tuple(self.tensor.shape)} is not (N, H, W)."

    def nonempty(self) -> torch.Tensor:
        """Return (N,) bool: the mask has at least one pixel."""
        return self.tensor.flatten(1).any(dim=1)

    def get_bounding_boxes(self) -> Boxes:
        """Return the tightest boxes (N), far sides exclusive; all zeros for an empty mask."""
        boxes = torch.zeros(len(self), 4, device=self.tensor.device)
        filled = self.nonempty()
        boxes[filled] = masks_to_boxes(self.tensor[filled])  # far sides inclusive
        boxes[filled, 2:] += 1
        return Boxes(boxes)

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Crop mask i to box i, (N, 4) XYXY, and resize it: a training target of the mask head.

        Returns: (N, mask_size, mask_size) bool: the mask covers at least half of the pixel.
        """
        bitmaps = self.tensor[:, None].to(device=boxes.device, dtype=torch.float32)
        ids = torch.arange(len(self), device=boxes.device)[:, None]
        rois = torch.cat((ids, boxes), dim=1).float()
        return roi_align(bitmaps, rois, mask_size, aligned=True).squeeze(1) >= 0.5

    def __repr__(self) -> str:
        return f"BitMasks(num_instances={len(self)})"


def _to_polygon(coordinates: Any) -> np.ndarray:
    polygon = np.asarray(coordinates, dtype=np.float64)
    if polygon.ndim != 1 or polygon.size < 6 or polygon.size % 2:
        raise ValueError(f"A polygon needs at least 3 pairs x, y, got shape {polygon.shape}.")
    return polygon


class PolygonMasks:
    """N masks, each the union of polygons, on the CPU.

    ``polygons`` are, per instance, a list of flat float64 arrays (x0, y0, x1, y1, ...) in pixels.

    Raises:
        ValueError: a polygon with fewer than 3 points, or an odd number of coordinates.
    """

    # The least side of a box in pixels when a mask is scaled: avoids a division by 0.
    MIN_BOX_SIDE = 0.1

    def __init__(self, polygons: Sequence[Sequence[np.ndarray | torch.Tensor]]):
        self.polygons = [[_to_polygon(part) for part in instance] for instance in polygons]

    def nonempty(self) -> torch.Tensor:
        """Return (N,) bool: the instance has at least one polygon."""
        return torch.tensor([len(instance) > 0 for instance in self.polygons], dtype=torch.bool)

    def get_bounding_boxes(self) -> Boxes:
        """Return the tightest boxes (N); (inf, inf, 0, 0), an empty box, without polygons."""
        # NOTE: the far corner is never left of or above the image's origin, as in Detectron2.
        far_from, near_from = np.zeros((1, 2)), np.full((1, 2), np.inf)
        corners = []
        for instance in self.polygons:
            points = [part.reshape(-1, 2) for part in instance]
            near = np.concatenate([near_from, *points]).min(axis=0)
            corners.append([*near, *np.concatenate([far_from, *points]).max(axis=0)])
        return Boxes(torch.tensor(corners))

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Crop mask i to box i, (N, 4) XYXY, and rasterise it: a training target of the mask head.

        Returns: (N, mask_size, mask_size) bool, on the device of ``boxes``.
        """
        corners = boxes.detach().cpu().numpy()
        scales = mask_size / np.maximum(corners[:, 2:] - corners[:, :2], self.MIN_BOX_SIDE)
        targets = np.zeros((len(self), mask_size, mask_size), dtype=bool)
        for i, (parts, origin, scale) in enumerate(zip(self.polygons, corners[:, :2], scales)):
            moved = [((part.reshape(-1, 2) - origin) * scale).ravel() for part in parts]
            targets[i] = polygons_to_bitmask(moved, mask_size, mask_size)
        return torch.from_numpy(targets).to(boxes.device)

    def __getitem__(self, item: Index | np.ndarray) -> "PolygonMasks":
        """Select masks; an integer selects one, and the result still has N = 1 masks."""
        if isinstance(item, torch.Tensor):
            item = item.cpu().numpy()
        positions = np.arange(len(self))[item]
        return PolygonMasks([self.polygons[i] for i in np.atleast_1d(positions)])

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        return iter(self.polygons)

    def __len__(self) -> int:
        return len(self.polygons)

    def __repr__(self) -> str:
        return f"PolygonMasks(num_instances={len(self)})"
