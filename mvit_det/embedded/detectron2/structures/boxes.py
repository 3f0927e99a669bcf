"""Axis-aligned boxes in pixels: (x0, y0, x1, y1), continuous coordinates, x1 and y1 exclusive."""

from enum import IntEnum, unique
from typing import Iterator, Sequence, TypeVar

import numpy as np
import torch
from torchvision.ops import boxes as box_ops

Index = int | slice | list | torch.Tensor
RawBox = TypeVar("RawBox", list, tuple, np.ndarray, torch.Tensor)


@unique
class BoxMode(IntEnum):
    """How four (or five) numbers spell a box. The integer values occur in dataset dicts on disk."""

    XYXY_ABS = 0
    XYWH_ABS = 1
    XYXY_REL = 2
    XYWH_REL = 3
    XYWHA_ABS = 4

    @staticmethod
    def convert(box: RawBox, from_mode: "BoxMode", to_mode: "BoxMode") -> RawBox:
        """Respell boxes, leaving the input alone.

        Args:
            box: one box as a list or tuple of 4 numbers, or (..., 4) as an array or tensor.

        Returns:
            The same kind of object as ``box``; ``box`` itself if the modes are equal. Numbers in a
            list or tuple go through float32 (integers stay integers).

        Raises:
            NotImplementedError: for any two modes other than XYXY_ABS and XYWH_ABS.
        """
        if from_mode == to_mode:
            return box
        if {from_mode, to_mode} != {BoxMode.XYXY_ABS, BoxMode.XYWH_ABS}:
            raise NotImplementedError(
                f"No conversion from {BoxMode(from_mode).name} to {BoxMode(to_mode).name}: "
                "only XYXY_ABS and XYWH_ABS can be converted."
            )
        values = torch.as_tensor(box)
        if values.shape[-1:] != (4,):
            raise AssertionError(f"A box must be 4 numbers, got {box!r}.")
        first, last = values.split(2, dim=-1)
        last = last + first if to_mode == BoxMode.XYXY_ABS else last - first
        result = torch.cat((first, last), dim=-1)
        if isinstance(box, torch.Tensor):
            return result
        return result.numpy() if isinstance(box, np.ndarray) else type(box)(result.tolist())


class Boxes:
    """N boxes as one float32 tensor.

    Attributes:
        tensor: (N, 4), rows of (x0, y0, x1, y1) in pixels.
    """

    def __init__(self, tensor: torch.Tensor | np.ndarray | Sequence[Sequence[float]]):
        boxes = torch.as_tensor(tensor, dtype=torch.float32)
        if boxes.numel() == 0:
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise AssertionError(f"Boxes need a tensor of shape (N, 4), got {tuple(boxes.shape)}.")
        self.tensor = boxes

    @classmethod
    def cat(cls, boxes_list: Sequence["Boxes"]) -> "Boxes":
        """Join boxes in order; an empty list gives 0 boxes. The result never shares memory."""
        assert isinstance(boxes_list, (list, tuple)), f"Expected a list, got {type(boxes_list)}."
        rows = [boxes.tensor for boxes in boxes_list]
        return cls(torch.cat(rows) if rows else torch.empty(0, 4))

    def clone(self) -> "Boxes":
        return Boxes(self.tensor.clone())

    def to(self, device: torch.device | str) -> "Boxes":
        return Boxes(self.tensor.to(device=device))

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def area(self) -> torch.Tensor:
        """(N,) areas in square pixels."""
        return box_ops.box_area(self.tensor)

    def get_centers(self) -> torch.Tensor:
        """(N, 2) centres (x, y)."""
        corners = self.tensor.unflatten(1, (2, 2))
        return corners.sum(dim=1) / 2

    def nonempty(self, threshold: float = 0.0) -> torch.Tensor:
        """(N,) bool: both sides longer than ``threshold``. NaN counts as empty."""
        sides = self.tensor[:, 2:] - self.tensor[:, :2]
        return sides.gt(threshold).all(dim=1)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> torch.Tensor:
        """(N,) bool: within an image of size (height, width), ``boundary_threshold`` pixels of
        overhang allowed. A far side that touches the limit counts as outside."""
        far_limit = self.tensor.new_tensor(box_size).flip(0) + boundary_threshold
        near_ok = self.tensor[:, :2] >= -boundary_threshold
        return (near_ok & (self.tensor[:, 2:] < far_limit)).all(dim=1)

    def clip(self, box_size: tuple[int, int]) -> None:
        """Move corners that lie outside of an image of size (height, width) to its border.

        The boxes get a new tensor; one that they shared with other objects is not written to.
        """
        assert torch.isfinite(self.tensor).all(), "Cannot clip boxes that contain Inf or NaN."
        self.tensor = box_ops.clip_boxes_to_image(self.tensor, tuple(box_size))

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Stretch in place: x by ``scale_x``, y by ``scale_y``."""
        self.tensor[:, 0::2].mul_(scale_x)
        self.tensor[:, 1::2].mul_(scale_y)

    def __getitem__(self, item: Index) -> "Boxes":
        """Rows by index, slice, list, bool mask or index tensor; always ``Boxes``, even for one."""
        rows = self.tensor[[item]] if isinstance(item, int) else self.tensor[item]
        assert rows.ndim == 2, f"Cannot index Boxes with {item!r}: the result is no matrix."
        return Boxes(rows)

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yields each box as a tensor of 4."""
        return iter(self.tensor)

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N, M) intersection over union of every box of one list with every box of the other.

    Pairs that do not overlap get 0, also where both areas are 0 or a coordinate is not a number.
    """
    return box_ops.box_iou(boxes1.tensor, boxes2.tensor).nan_to_num_(nan=0.0)
