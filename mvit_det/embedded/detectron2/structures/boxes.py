"""Axis-aligned boxes in pixels: (x0, y0, x1, y1), continuous coordinates, x1 and y1 exclusive."""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import torch
from torchvision.ops import boxes as box_ops

Index = int | slice | list | torch.Tensor
RawBox = TypeVar("RawBox", list, tuple, np.ndarray, torch.Tensor)


class BoxMode(IntEnum):
    """How four numbers spell a box. The integer values occur in dataset dicts on disk."""

    XYXY_ABS = 0
    XYWH_ABS = 1

    @staticmethod
    def convert(box: RawBox, from_mode: "BoxMode", to_mode: "BoxMode") -> RawBox:
        """Respell one box (4 numbers) or many, (..., 4), leaving the input alone.

        The result is of the type of ``box``; numbers in a list or tuple go through float32.
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
    """N things of one kind, which are the rows of ``tensor``."""

    tensor: torch.Tensor

    def to(self, *args: Any, **kwargs: Any) -> "Rows":
        """Move to a device."""
        return type(self)(self.tensor.to(*args, **kwargs))

    def __getitem__(self, item: Index) -> "Rows":
        """Choose rows; an integer gives one of the same class, too, with a single row."""
        return type(self)(self.tensor[[item] if isinstance(item, int) else item])

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.tensor)


class Boxes(Rows):
    """N boxes: ``tensor`` is (N, 4) float32, rows of (x0, y0, x1, y1) in pixels."""

    def __init__(self, tensor: torch.Tensor | np.ndarray | Sequence[Sequence[float]]):
        boxes = torch.as_tensor(tensor, dtype=torch.float32)
        if boxes.numel() == 0:
            boxes = boxes.reshape(0, 4)
        assert boxes.ndim == 2 and boxes.shape[1] == 4, f"{tuple(boxes.shape)} is not (N, 4)."
        self.tensor = boxes

    @classmethod
    def cat(cls, boxes_list: Sequence["Boxes"]) -> "Boxes":
        """Join boxes in order; none at all give 0 boxes."""
        rows = [boxes.tensor for boxes in boxes_list]
        return cls(torch.cat(rows) if rows else [])

    def area(self) -> torch.Tensor:
        """Return (N,) in square pixels."""
        return box_ops.box_area(self.tensor)

    def get_centers(self) -> torch.Tensor:
        """Return (N, 2), x and y."""
        return self.tensor.unflatten(1, (2, 2)).sum(dim=1) / 2

    def nonempty(self, threshold: float = 0.0) -> torch.Tensor:
        """Return (N,) bool: both sides longer than ``threshold``. NaN counts as empty."""
        sides = self.tensor[:, 2:] - self.tensor[:, :2]
        return sides.gt(threshold).all(dim=1)

    def clip(self, box_size: tuple[int, int]) -> None:
        """Cut off what lies outside of an image of size (height, width), in a new ``tensor``."""
        assert torch.isfinite(self.tensor).all(), "Cannot clip boxes that contain Inf or NaN."
        self.tensor = box_ops.clip_boxes_to_image(self.tensor, tuple(box_size))

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """Return (N, M) intersections over unions of N boxes with M others; 0 where it is 0 / 0."""
    return box_ops.box_iou(boxes1.tensor, boxes2.tensor).nan_to_num_(nan=0.0)
