"""Instance masks of one image, as bitmaps or as polygons."""

from typing import Any, Iterator, Sequence

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torchvision.ops import masks_to_boxes, roi_align

from .boxes import Boxes, Index


def polygons_to_bitmask(polygons: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Rasterise the union of polygons by COCO's rule (pycocotools).

    Args:
        polygons: each a flat array (x0, y0, x1, y1, ...) in pixels.

    Returns:
        (height, width) bool.
    """
    if len(polygons) == 0:
        return np.zeros((height, width), dtype=bool)
    parts = coco_mask.frPyObjects([np.asarray(p).tolist() for p in polygons], height, width)
    return coco_mask.decode(coco_mask.merge(parts)).astype(bool)


class BitMasks:
    """N masks as bitmaps of the image's size.

    Attributes:
        tensor: (N, H, W) bool.
        image_size: (H, W).
    """

    def __init__(self, tensor: torch.Tensor | np.ndarray):
        bitmaps = torch.as_tensor(tensor, dtype=torch.bool)
        if bitmaps.ndim != 3:
            raise AssertionError(f"BitMasks need shape (N, H, W), got {tuple(bitmaps.shape)}.")
        self.tensor = bitmaps
        self.image_size = bitmaps.shape[1:]

    @staticmethod
    def from_polygon_masks(
        polygon_masks: "PolygonMasks | list[list[np.ndarray]]", height: int, width: int
    ) -> "BitMasks":
        """Rasterise: one bitmap per instance, on the CPU."""
        bitmaps = [polygons_to_bitmask(polygons, height, width) for polygons in polygon_masks]
        return BitMasks(np.stack(bitmaps) if bitmaps else np.zeros((0, height, width), bool))

    @staticmethod
    def cat(bitmasks_list: Sequence["BitMasks"]) -> "BitMasks":
        """Join masks of one image in order."""
        assert bitmasks_list, "Cannot concatenate no BitMasks."
        return BitMasks(torch.cat([masks.tensor for masks in bitmasks_list]))

    def to(self, *args: Any, **kwargs: Any) -> "BitMasks":
        """As ``Tensor.to``; the masks stay bool."""
        return BitMasks(self.tensor.to(*args, **kwargs))

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def nonempty(self) -> torch.Tensor:
        """(N,) bool: has at least one pixel."""
        return self.tensor.flatten(1).any(dim=1)

    def get_bounding_boxes(self) -> Boxes:
        """The tightest boxes, far sides exclusive; all zeros for an empty mask."""
        boxes = torch.zeros(len(self), 4, device=self.device)
        filled = self.nonempty()
        boxes[filled] = masks_to_boxes(self.tensor[filled])  # far sides inclusive
        boxes[filled, 2:] += 1
        return Boxes(boxes)

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Crop mask i to box i and resize it: a training target of the mask head.

        Args:
            boxes: (N, 4), XYXY in pixels.

        Returns:
            (N, mask_size, mask_size) bool: at least half of the pixel is covered.
        """
        assert len(boxes) == len(self), f"{len(boxes)} boxes for {len(self)} masks."
        bitmaps = self.tensor[:, None].to(device=boxes.device, dtype=torch.float32)
        ids = torch.arange(len(self), device=boxes.device)[:, None]
        rois = torch.cat((ids, boxes), dim=1).to(bitmaps.dtype)
        covered = roi_align(bitmaps, rois, mask_size, sampling_ratio=0, aligned=True)
        return covered.squeeze(1) >= 0.5

    def __getitem__(self, item: Index) -> "BitMasks":
        """Masks by index, slice, bool mask or index tensor; always ``BitMasks``, even for one."""
        chosen = self.tensor[[item]] if isinstance(item, int) else self.tensor[item]
        assert chosen.ndim == 3, f"Cannot index BitMasks with {item!r}: the result is not 3-D."
        return BitMasks(chosen)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yields each mask as (H, W)."""
        return iter(self.tensor)

    def __len__(self) -> int:
        return len(self.tensor)

    def __repr__(self) -> str:
        return f"BitMasks(num_instances={len(self)})"


def _as_polygon(coordinates: Any) -> np.ndarray:
    if isinstance(coordinates, torch.Tensor):
        coordinates = coordinates.cpu()
    polygon = np.asarray(coordinates, dtype=np.float64)
    if polygon.ndim != 1 or polygon.size < 6 or polygon.size % 2:
        raise ValueError(
            f"A polygon needs an even count of at least 6 coordinates (x, y, ...), "
            f"got shape {polygon.shape}."
        )
    return polygon


def _shoelace(polygon: np.ndarray) -> float:
    x, y = polygon.reshape(-1, 2).T
    return 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))


class PolygonMasks:
    """N masks, each the union of polygons. They live on the CPU.

    Attributes:
        polygons: per instance a list of flat float64 arrays (x0, y0, x1, y1, ...) in pixels.
    """

    # Fewer pixels than this count as this many: a sliver of a box has no scale.
    MIN_BOX_SIDE = 0.1

    def __init__(self, polygons: Sequence[Sequence[np.ndarray | torch.Tensor]]):
        for level in (polygons, *polygons) if isinstance(polygons, list) else (polygons,):
            if not isinstance(level, list):
                raise ValueError(
                    "PolygonMasks need a list (instances) of lists (polygons) of arrays, "
                    f"got a {type(level).__name__} where a list was expected."
                )
        self.polygons = [[_as_polygon(part) for part in instance] for instance in polygons]

    @staticmethod
    def cat(polymasks_list: Sequence["PolygonMasks"]) -> "PolygonMasks":
        """Join masks of one image in order."""
        assert polymasks_list, "Cannot concatenate no PolygonMasks."
        return PolygonMasks([instance for masks in polymasks_list for instance in masks])

    def to(self, *args: Any, **kwargs: Any) -> "PolygonMasks":
        """Polygons stay where they are: returns self."""
        return self

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def nonempty(self) -> torch.Tensor:
        """(N,) bool: has at least one polygon."""
        return torch.tensor([len(instance) > 0 for instance in self.polygons], dtype=torch.bool)

    def area(self) -> torch.Tensor:
        """(N,) float64: sum of the polygons' areas, overlaps counted twice."""
        return torch.tensor([sum(map(_shoelace, parts)) for parts in self.polygons])

    def get_bounding_boxes(self) -> Boxes:
        """The tightest boxes; (inf, inf, 0, 0), which is empty, for an instance without polygon."""
        boxes = torch.zeros(len(self), 4)
        for box, parts in zip(boxes, self.polygons):
            points = torch.as_tensor(np.concatenate([*parts, np.empty(0)]).reshape(-1, 2)).float()
            # NOTE: the far corner is never left of or above the image's origin, as in Detectron2.
            box[:2] = torch.cat((points, points.new_full((1, 2), torch.inf))).amin(dim=0)
            box[2:] = torch.cat((points, points.new_zeros(1, 2))).amax(dim=0)
        return Boxes(boxes)

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Crop mask i to box i and rasterise it: a training target of the mask head.

        Args:
            boxes: (N, 4), XYXY in pixels.

        Returns:
            (N, mask_size, mask_size) bool, on the device of ``boxes``.
        """
        assert len(boxes) == len(self), f"{len(boxes)} boxes for {len(self)} masks."
        corners = boxes.detach().cpu().numpy()
        scales = mask_size / np.maximum(corners[:, 2:] - corners[:, :2], self.MIN_BOX_SIDE)
        targets = np.zeros((len(self), mask_size, mask_size), dtype=bool)
        for target, parts, origin, scale in zip(targets, self.polygons, corners[:, :2], scales):
            moved = [((part.reshape(-1, 2) - origin) * scale).ravel() for part in parts]
            target[:] = polygons_to_bitmask(moved, mask_size, mask_size)
        return torch.from_numpy(targets).to(boxes.device)

    def __getitem__(self, item: Index | np.ndarray) -> "PolygonMasks":
        """Masks by index, slice, list, bool mask or index tensor; always ``PolygonMasks``."""
        if isinstance(item, torch.Tensor):
            item = item.cpu().numpy()
        positions = np.arange(len(self))[item]
        return PolygonMasks([self.polygons[i] for i in np.atleast_1d(positions)])

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """Yields each instance's list of polygons."""
        return iter(self.polygons)

    def __len__(self) -> int:
        return len(self.polygons)

    def __repr__(self) -> str:
        return f"PolygonMasks(num_instances={len(self)})"
