"""Axis-aligned boxes in pixels: (x0, y0, x1, y1), continuous coordinates, x1 and y1 exclusive."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import torch
from torchvision.ops import boxes as box_ops

from .whole_batch import BatchSizes

Index = int | slice | list | torch.Tensor
RawBox = TypeVar("RawBox", list, tuple, np.ndarray, torch.Tensor)
R = TypeVar("R", bound="Rows")


class BoxMode(IntEnum):
    """Coordinate formats of boxes. The integer values occur in dataset dicts on disk."""

    XYXY_ABS = 0
    XYWH_ABS = 1

    @staticmethod
    def convert(box: RawBox, from_mode: "BoxMode", to_mode: "BoxMode") -> RawBox:
        """Convert one box (4 numbers) or many, (..., 4), into a new object of the same type.

        Numbers in a list or tuple are rounded to float32.

        Raises:
            NotImplementedError: another mode.
        """
        if from_mode == to_mode:
            return box
        if {from_mode, to_mode} != {BoxMode.XYXY_ABS, BoxMode.XYWH_ABS}:
            raise NotImplementedError(f"Boxes must be XYXY_ABS or XYWH_ABS, not {from_mode!r}.")
        near, far = torch.as_tensor(box).unflatten(-1, (2, 2)).unbind(-2)
        far = far + near if to_mode == BoxMode.XYXY_ABS else far - near
        result = torch.cat((near, far), dim=-1)
        if isinstance(box, torch.Tensor):
            return result
        return result.numpy() if isinstance(box, np.ndarray) else type(box)(result.tolist())


class Rows:
    """N items, which are the rows of ``tensor``."""

    def __init__(self, tensor: Any):
        self.tensor: torch.Tensor = tensor

    def to(self: R, *args: Any, **kwargs: Any) -> R:
        """Return a copy on a device; arguments are those of ``Tensor.to``."""
        return type(self)(self.tensor.to(*args, **kwargs))

    def __getitem__(self: R, item: Index) -> R:
        """Select rows; an integer selects one, and the result still has N = 1 rows."""
        return type(self)(self.tensor[[item] if isinstance(item, int) else item])

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.tensor)


class Boxes(Rows):
    """N boxes: ``tensor`` is (N, 4) float32, rows of (x0, y0, x1, y1) in pixels.

    Raises:
        AssertionError: another shape.
    """

    def __init__(self, tensor: torch.Tensor | np.ndarray | Sequence[Sequence[float]]):
        boxes = torch.as_tensor(tensor, dtype=torch.float32)
        if boxes.ndim != 2 and boxes.numel() == 0:
            boxes = boxes.reshape(0, 4)
        assert boxes.ndim == 2 and boxes.shape[1] == 4, f"{tuple(boxes.shape)} is not (N, 4)."
        super().__init__(boxes)

    @classmethod
    def cat(cls, boxes_list: Sequence["Boxes"]) -> "Boxes":
        """Concatenate boxes; an empty list results in 0 boxes."""
        rows = [boxes.tensor for boxes in boxes_list]
        return cls(torch.cat(rows) if rows else [])

    def area(self) -> torch.Tensor:
        """Return the areas (N,) in square pixels."""
        return box_ops.box_area(self.tensor)

    def get_centers(self) -> torch.Tensor:
        """Return the centres (N, 2), x and y in pixels."""
        return self.tensor.unflatten(1, (2, 2)).sum(dim=1) / 2

    def nonempty(self, threshold: float = 0.0) -> torch.Tensor:
        """Return (N,) bool: both sides exceed ``threshold`` pixels. NaN counts as empty."""
        sides = self.tensor[:, 2:] - self.tensor[:, :2]
        return sides.gt(threshold).all(dim=1)

    def clip(self, box_size: tuple[int, int] | BatchSizes) -> None:
        """Clip to an image of size (height, width), in a new ``tensor``.

        Raises:
            AssertionError: a coordinate is not finite.
        """
        if isinstance(box_size, BatchSizes):
            self.tensor = box_size.clip(self.tensor)
            return
        assert torch.isfinite(self.tensor).all(), "Cannot clip boxes that contain Inf or NaN."
        self.tensor = box_ops.clip_boxes_to_image(self.tensor, tuple(box_size))

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """Return the IoU (N, M), 0..1, of N boxes with M boxes; 0 for two empty boxes."""
    return box_ops.box_iou(boxes1.tensor, boxes2.tensor).nan_to_num_(nan=0.0)
