"""Adapt a tensor of a file to the shape that a model needs, where that preserves its meaning.

Position tables are resized once, here, by the functions that the backbone itself applies to inputs
of other sizes: the model then computes what it would have computed with the file's tables.
"""

import math
import re
from collections.abc import Sequence

import torch

from mvit_det.backbone.position import absolute_position, resize_table
from mvit_det.checkpoint.inflation import inflate
from mvit_det.checkpoint.layout import Layout

# Canonical names of what has rows for classes -> rows of each class, and rows besides.
CLASS_HEADS = {
    r"head\.projection\.(weight|bias)": (1, 0),
    r"roi_heads\.box_predictor(\.\d)?\.cls_score\.(weight|bias)": (1, 1),
    r"roi_heads\.box_predictor(\.\d)?\.bbox_pred\.(weight|bias)": (4, 0),
    r"roi_heads\.mask_head\.predictor\.(weight|bias)": (1, 0),
}
OTHER_CLASSES = re.compile(r"(\d+) classes, the model has (\d+)")


class ShapeMismatch(Exception):
    """The tensor cannot be brought into the model's shape; the message is the reason."""


def adapt(
    name: str,
    tensor: torch.Tensor,
    target: torch.Tensor,
    source: Layout | None,
    model: Layout | None,
    inflation: str = "centre",
) -> tuple[torch.Tensor, str | None]:
    """Bring a tensor into the shape of the model's tensor.

    Args:
        name: canonical name of the tensor.
        tensor: the file's, of any shape.
        target: the model's, whose shape the result has.
        source: the network in the file; None if it is not an MViT.
        model: the network to load into; None if it is not an MViT. If either is None, only a tensor
            of equal shape fits.
        inflation: rule for turning a 2-D convolution into a 3-D one, see `inflation`.

    Returns:
        The tensor, and a description of the change; None if it is unchanged.

    Raises:
        ShapeMismatch: no change of shape preserves the meaning.
    """
    if source is None or model is None:
        if tensor.shape != target.shape:
            raise _mismatch(name, tensor, target)
        return tensor, None
    leaf = name.rpartition(".")[2]
    # two grids may have equally many rows
    other_grid = leaf.startswith("pos_embed") and None not in (source.grid, model.grid)
    if tensor.shape == target.shape and not (other_grid and source.grid != model.grid):
        return tensor, None
    same_kind = tensor.ndim == target.ndim and tensor.numel() > 0
    if same_kind and leaf.startswith("rel_pos_") and tensor.shape[-1] == target.shape[-1]:
        old, new = (" x ".join(map(str, rows.shape[:-1])) for rows in (tensor, target))
        return resize_table(tensor, *target.shape[:-1]), f"{old} -> {new} rows, linear"
    if same_kind and leaf.startswith("pos_embed") and tensor.shape[-1] == target.shape[-1]:
        return _adapt_absolute(leaf, tensor, target, source, model)
    if {tensor.ndim, target.ndim} == {4, 5}:
        return _adapt_convolution(name, tensor, target, inflation)
    raise _mismatch(name, tensor, target)


def _adapt_convolution(
    name: str, tensor: torch.Tensor, target: torch.Tensor, inflation: str
) -> tuple[torch.Tensor, str]:
    """Turn a kernel over (h, w) into one over (t, h, w); the reverse only if it has one frame."""
    flat = [(*kernel.shape[:2], *kernel.shape[-2:]) for kernel in (tensor, target)]
    frames = max(tensor, target, key=torch.Tensor.dim).shape[2]
    if flat[0] != flat[1]:
        raise _mismatch(name, tensor, target)
    if frames == 1:
        adapted, note = tensor.reshape(target.shape), "the same convolution"
    elif tensor.ndim == 4:
        adapted, note = inflate(tensor, frames, inflation)
    else:
        raise ShapeMismatch(
            f"a convolution over clips, {frames} frames deep, the model has one over images: "
            "image weights can start a model for clips, but not the reverse"
        )
    return adapted, f"{_format(tensor.shape)} -> {_format(target.shape)}, {note}"


def _adapt_absolute(
    leaf: str, tensor: torch.Tensor, target: torch.Tensor, source: Layout, model: Layout
) -> tuple[torch.Tensor, str | None]:
    if leaf == "pos_embed_temporal":
        if tensor.shape == target.shape:
            return tensor, None
        resized = resize_table(tensor[0], target.shape[1])[None]
        return resized, f"{tensor.shape[1]} -> {target.shape[1]} rows, linear"
    old, old_class = _grid_of(tensor, source)
    new, new_class = _grid_of(target, model)
    if len(old) != 2 or len(new) != 2:
        raise ShapeMismatch("a joint position embedding of time and space, which cannot be resized")
    # absolute_position gives (1, H, W, C)
    rows = absolute_position(tensor[:, old_class:], old, new).flatten(1, 2)
    notes = [] if old == new else [f"{_format(old)} -> {_format(new)} tokens, bicubic"]
    if new_class:
        row = tensor[:, :1] if old_class else target[:, :1].to(rows)
        rows = torch.cat([row, rows], dim=1)
        notes += [] if old_class else ["the row of the class token stays the model's"]
    elif old_class:
        notes.append("without the row of the class token")
    return rows, "; ".join(notes) or None


def _grid_of(table: torch.Tensor, layout: Layout) -> tuple[tuple[int, ...], int]:
    """Return (grid, rows for a class token) of an absolute position embedding (1, rows, C).

    The grid is that of the relative tables; if they disagree or are absent, it must be square.

    Raises:
        ShapeMismatch: no grid has that number of rows.
    """
    rows = table.shape[1]
    grids = [layout.grid, layout.grid[-2:]] if layout.grid else []
    grids += [(math.isqrt(rows - class_rows),) * 2 for class_rows in (0, 1)]
    for grid in grids:
        for class_rows in (0, 1):
            if math.prod(grid) + class_rows == rows:
                return grid, class_rows
    raise ShapeMismatch(f"a position embedding of {rows} rows, which are not a square grid")


def _mismatch(name: str, tensor: torch.Tensor, target: torch.Tensor) -> ShapeMismatch:
    """Explain shapes that differ: by the numbers of classes, if that is all."""
    per_class = [rows for head, rows in CLASS_HEADS.items() if re.fullmatch(head, name)]
    if per_class and tensor.ndim and tensor.shape[1:] == target.shape[1:]:
        each, more = per_class[0]
        file, model = ((len(table) - more) // each for table in (tensor, target))
        return ShapeMismatch(f"{file} classes, the model has {model}")
    return ShapeMismatch(f"shape {_format(tensor.shape)}, the model has {_format(target.shape)}")


def _format(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
