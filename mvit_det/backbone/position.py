"""Position embeddings: relative (decomposed, Eq. 3-4 of the paper) and absolute.

Legend: nq, nk = tokens along one axis of the queries and of the keys; D = channels of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from mvit_det.backbone.cpu import is_exporting


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


def resize_table(table: torch.Tensor, length: int) -> torch.Tensor:
    """Resize a position table linearly, as all released code does for other input sizes.

    Args:
        table: (L, D) learned rows, one per distance along an axis.
        length: number of rows wanted.

    Returns:
        (length, D), in the dtype of the table; the table itself if its length fits.
    """
    if not isinstance(length, torch.SymInt) and table.shape[0] == length:
        return table
    resized = F.interpolate(_promote_half(table).T[None], size=length, mode="linear")
    return resized[0].T.to(table.dtype)


def relative_position(table: torch.Tensor, nq: int, nk: int) -> torch.Tensor:
    """Look up the relative position embeddings of one axis for nq queries and nk keys.

    Args:
        table: (L, D) learned rows, one per distance; resized if L differs from what is needed.
        nq: number of queries along the axis.
        nk: number of keys along the axis.

    Returns:
        (nq, nk, D), the R of Eq. 4 for this axis.
    """
    most: Any = torch.sym_max if is_exporting() else max
    rows = resize_table(table, 2 * most(nq, nk) - 1)
    return rows[relative_index(nq, nk, table.device)]


def absolute_position(
    pos_embed: torch.Tensor, nominal_grid: Sequence[int], grid: Sequence[int]
) -> torch.Tensor:
    """Resize absolute position embeddings from the nominal grid to another grid.

    Args:
        pos_embed: (1, N, C) with N = the product of ``nominal_grid``.
        nominal_grid: (H, W) tokens that the table was learned for.
        grid: (H, W) tokens of the input.

    Returns:
        (1, H, W, C), resized bicubically as in Detectron2's release.
    """
    table = pos_embed.unflatten(1, tuple(nominal_grid))
    dynamic = any(isinstance(n, torch.SymInt) for n in grid)
    if not dynamic and tuple(nominal_grid) == tuple(grid):
        return table
    resized = F.interpolate(
        _promote_half(table.movedim(-1, 1)),
        size=tuple(grid),
        mode="bicubic",
        align_corners=False,
    )
    return resized.movedim(1, -1).to(pos_embed.dtype)


def _promote_half(x: torch.Tensor) -> torch.Tensor:
    # interpolation has no half-precision form on every device
    return x.to(torch.promote_types(x.dtype, torch.float32))
