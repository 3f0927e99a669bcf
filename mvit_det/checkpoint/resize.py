"""Make a tensor of a file the shape that a model has, where that keeps what it means.

Position tables are resized once, here, by the functions that the backbone itself applies to inputs
of other sizes: the model then computes what it would have computed with the file's own tables.
"""

import math
from collections.abc import Sequence

import torch

from mvit_det.backbone.position import absolute_position, resize_table
from mvit_det.checkpoint.inflation import inflate
from mvit_det.checkpoint.layout import Layout


class Unfit(Exception):
    """The tensor cannot become what the model has; the message says why."""


def adapt(
    name: str,
    tensor: torch.Tensor,
    target: torch.Tensor,
    source: Layout | None,
    model: Layout | None,
    inflation: str = "centre",
) -> tuple[torch.Tensor, str | None]:
    """Bring a tensor into the shape of the model's.

    Args:
        name: its canonical name.
        tensor: as in the file.
        target: as in the model.
        source, model: the networks of the file and of the model; nothing is done where one is None,
            which is no MViT.
        inflation: how a convolution over images becomes one over clips (`inflation`).

    Returns:
        The tensor, and in words what was done to it; None if nothing was.

    Raises:
        Unfit: nothing can be done that keeps the meaning.
    """
    if None in (source, model):
        if tensor.shape != target.shape:
            raise _unfit(tensor, target)
        return tensor, None
    leaf = name.rpartition(".")[2]
    # two grids may have equally many rows
    other_grid = leaf.startswith("pos_embed") and None not in (source.grid, model.grid)
    if tensor.shape == target.shape and not (other_grid and source.grid != model.grid):
        return tensor, None
    if leaf.startswith("rel_pos_") and tensor.ndim == 2 and tensor.shape[1] == target.shape[1]:
        return resize_table(tensor, len(target)), f"{len(tensor)} -> {len(target)} rows, linear"
    if leaf.startswith("pos_embed") and tensor.shape[-1] == target.shape[-1]:
        return _adapt_absolute(leaf, tensor, target, source, model)
    if {tensor.ndim, target.ndim} == {4, 5}:
        return _adapt_convolution(tensor, target, inflation)
    if name.startswith("head.projection.") and tensor.shape[1:] == target.shape[1:]:
        raise Unfit(f"{len(tensor)} classes, the model has {len(target)}")
    raise _unfit(tensor, target)


def _adapt_convolution(
    tensor: torch.Tensor, target: torch.Tensor, inflation: str
) -> tuple[torch.Tensor, str]:
    """One over (h, w) into one over (t, h, w); the reverse only where that is one frame deep."""
    flat = [(*kernel.shape[:2], *kernel.shape[-2:]) for kernel in (tensor, target)]
    frames = max(tensor, target, key=torch.Tensor.dim).shape[2]
    if flat[0] != flat[1]:
        raise _unfit(tensor, target)
    if frames == 1:
        adapted, note = tensor.reshape(target.shape), "the same convolution"
    elif tensor.ndim == 4:
        adapted, note = inflate(tensor, frames, inflation)
    else:
        raise Unfit(
            f"a convolution over clips, {frames} frames deep, the model has one over images: weights "
            "of images become those of clips, but not the reverse"
        )
    return adapted, f"{_spell(tensor.shape)} -> {_spell(target.shape)}, {note}"


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
        raise Unfit("a position embedding over time and space at once, which cannot be resized")
    # absolute_position gives (1, H, W, C)
    rows = absolute_position(tensor[:, old_class:], old, new).flatten(1, 2)
    notes = [] if old == new else [f"{_spell(old)} -> {_spell(new)} tokens, bicubic"]
    if new_class:
        row = tensor[:, :1] if old_class else target[:, :1].to(rows)
        rows = torch.cat([row, rows], dim=1)
        notes += [] if old_class else ["the row of the class token stays the model's"]
    elif old_class:
        notes.append("without the row of the class token")
    return rows, "; ".join(notes) or None


def _grid_of(table: torch.Tensor, layout: Layout) -> tuple[tuple[int, ...], int]:
    """(grid, rows for a class token) of an absolute position embedding (1, rows, C).

    The relative tables know the grid; where they say otherwise or are not there, it is square.
    """
    rows = table.shape[1]
    grids = [layout.grid, layout.grid[-2:]] if layout.grid else []
    grids += [(math.isqrt(rows - class_rows),) * 2 for class_rows in (0, 1)]
    for grid in grids:
        for class_rows in (0, 1):
            if math.prod(grid) + class_rows == rows:
                return grid, class_rows
    raise Unfit(f"an absolute position embedding of {rows} rows, which is no square grid")


def _unfit(tensor: torch.Tensor, target: torch.Tensor) -> Unfit:
    return Unfit(f"shape {_spell(tensor.shape)}, the model has {_spell(target.shape)}")


def _spell(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
