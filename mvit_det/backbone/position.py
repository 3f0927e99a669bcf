"""Position embeddings: relative (Eq. 3-4 of the paper) and absolute.

A table of relative positions belongs to one axis, as in the paper's decomposed form (Eq. 4), or to
several jointly; then it has one embedding for every combination of distances along them.

Legend: nq, nk = tokens along one axis of the queries and of the keys; D = channels of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from mvit_det.backbone.plan import check_letters
from mvit_det.kernels.cpu import is_exporting


@dataclass(frozen=True)
class RelativeTable:
    """Which axes a table of relative positions spans, and which of q, k and v carries it."""

    name: str  # of the parameter
    carrier: str  # "q", "k" or "v"
    axes: slice  # of the grid


def relative_tables(
    axes: int, groups: Sequence[str] | None = None, carriers: str = "q"
) -> list[RelativeTable]:
    """List the tables of relative positions of one attention.

    Args:
        axes: of the grid, 2 or 3.
        groups: axes of each table, of ``"t"``, ``"h"`` and ``"w"``: ``("h", "w")`` is decomposed,
            ``("hw",)`` joint, ``("t", "hw")`` joint in space and separate in time. None: one table
            per axis (Eq. 4).
        carriers: letters of q, k and v (appendix A.4), each of which has such tables.

    Returns:
        One per carrier and group. Those of q are named ``rel_pos_h`` etc., as in all released
        code, others ``rel_pos_k_h`` etc.

    Raises:
        ValueError: a group is not of neighbouring axes in order, an axis is in two groups, or a
            carrier is not known.
    """
    order = "thw"[-axes:]
    groups = tuple(order if groups is None else groups)
    used = "".join(map(str, groups))
    known = used and all(group and str(group) in order for group in groups)
    if not known or len(set(used)) < len(used):
        raise ValueError(
            f"rel_pos_tables={groups} must name neighbouring axes of '{order}', each axis in at "
            f"most one table: e.g. {tuple(order)}, ('hw',)."
        )
    check_letters("rel_pos_on", carriers, least=1)
    return [
        RelativeTable(
            "rel_pos_" + (f"{carrier}_" if carrier != "q" else "") + group,
            carrier,
            slice(order.index(group), order.index(group) + len(group)),
        )
        for carrier in carriers
        for group in groups
    ]


def relative_index(nq: int, nk: int, device: torch.device | None = None) -> torch.Tensor:
    """Compute the row of the position table for every (query, key) pair along one axis.

    If queries and keys are pooled differently, the coarser axis is stretched to the finer one.
    Row 0 belongs to the first query and the last key.

    Args:
        nq: queries along the axis.
        nk: keys along the axis.
        device: of the result.

    Returns:
        int64 tensor (nq, nk) with values in [0, 2 * max(nq, nk) - 2].
    """
    stretch_q, stretch_k, last = _stretches(nq, nk, device)
    query = torch.arange(nq, device=device)[:, None] * stretch_q
    key = torch.arange(nk, device=device)[None, :] * stretch_k
    # NOTE: the published weights were trained with truncation, not rounding.
    return (query - key + last).long()


def _stretches(nq: int, nk: int, device: torch.device | None) -> tuple:
    """Compute the distance of queries, that of keys, and the position of the last key."""
    if not isinstance(nq, torch.SymInt) and not isinstance(nk, torch.SymInt):
        stretch_k = max(nq / nk, 1.0)
        return max(nk / nq, 1.0), stretch_k, (nk - 1) * stretch_k
    # The same numbers as float32 tensors, as a program has no floats that depend on sizes. Python's
    # doubles, rounded to float32 when a tensor is multiplied, equal these for all sizes below 4096.
    queries, keys = (torch.scalar_tensor(n, dtype=torch.float32, device=device) for n in (nq, nk))
    most = torch.maximum(queries, keys)
    return most / queries, most / keys, (keys - 1) * most / keys


def resize_table(table: torch.Tensor, *lengths: int) -> torch.Tensor:
    """Resize a position table linearly, as all released code does for other input sizes.

    Args:
        table: (L, D) learned rows, one per distance along an axis; or (L1, L2, [L3,] D).
        *lengths: number of rows wanted, along each axis.

    Returns:
        (*lengths, D), in the dtype of the table; the table itself if its lengths fit.
    """
    dynamic = any(isinstance(length, torch.SymInt) for length in lengths)
    if not dynamic and table.shape[:-1] == lengths:
        return table
    mode = ("linear", "bilinear", "trilinear")[len(lengths) - 1]
    resized = F.interpolate(_promote_half(table).movedim(-1, 0)[None], size=lengths, mode=mode)
    return resized[0].movedim(0, -1).to(table.dtype)


def relative_position(
    table: torch.Tensor, extent_q: Sequence[int], extent_k: Sequence[int]
) -> torch.Tensor:
    """Look up the relative position embeddings of the axes of one table.

    Args:
        table: (L, D) learned rows, one per distance along an axis; or, of several axes jointly,
            (L1, L2, [L3,] D). Resized if a length differs from what is needed.
        extent_q: queries along each of these axes.
        extent_k: keys along each.

    Returns:
        (queries, keys, D), the R of Eq. 3 and 4 for these axes, which are flattened.
    """
    axes = len(extent_q)
    most: Any = torch.sym_max if is_exporting() else max
    rows = resize_table(table, *(2 * most(nq, nk) - 1 for nq, nk in zip(extent_q, extent_k)))
    index = []
    for axis, (nq, nk) in enumerate(zip(extent_q, extent_k)):
        shape = [1] * (2 * axes)
        shape[axis], shape[axes + axis] = nq, nk
        index.append(relative_index(nq, nk, table.device).view(shape))
    return rows[tuple(index)].flatten(axes, -2).flatten(0, axes - 1)


def absolute_position(
    pos_embed: torch.Tensor, nominal_grid: Sequence[int], grid: Sequence[int]
) -> torch.Tensor:
    """Resize absolute position embeddings from the nominal grid to another grid.

    Args:
        pos_embed: (1, N, C) with N = the product of ``nominal_grid``.
        nominal_grid: (H, W) tokens that the table was learned for, or (T,) frames.
        grid: (H, W) or (T,) tokens of the input.

    Returns:
        (1, *grid, C), resized bicubically as in Detectron2's release; along time linearly.
    """
    table = pos_embed.unflatten(1, tuple(nominal_grid))
    dynamic = any(isinstance(n, torch.SymInt) for n in grid)
    if not dynamic and tuple(nominal_grid) == tuple(grid):
        return table
    resized = F.interpolate(
        _promote_half(table.movedim(-1, 1)),
        size=tuple(grid),
        mode="bicubic" if len(grid) == 2 else "linear",
        align_corners=False,
    )
    return resized.movedim(1, -1).to(pos_embed.dtype)


def _promote_half(x: torch.Tensor) -> torch.Tensor:
    # interpolation has no half-precision form on every device
    return x.to(torch.promote_types(x.dtype, torch.float32))
