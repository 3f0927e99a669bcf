"""What enters attention beside q, k and v: relative position, and the mask of shifted windows.

Each term has two forms. The plain one is its equation. The other one is an inner product: columns
that are appended to queries and keys (or values), so that one call of fused attention adds the
term, exactly and without storing the (Nq, Nk) attention map. That exists because a term depends on
the query, or on the key, only through its coordinate on some axes, which a one-hot code selects:

    Q_i . R_ij = (Q_i . R_i1, Q_i . R_i2, ...) . onehot(coordinate of j)

Legend as in ``attention.py``; nq, nk = coordinates of a query and of a key on the axes of a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch

from mvit_det.kernels.cpu import is_exporting

MASK = -1e4  # added to masked logits; half precision represents it


Span = tuple[int, int, int]  # tokens of a group before, along and after some axes; their order


def span_of(extent: Sequence[int], axes: slice) -> Span:
    """Find the tokens before, along and after some axes of a group of this extent."""
    return prod(extent[: axes.start]), prod(extent[axes]), prod(extent[axes.stop :])


@dataclass(frozen=True)
class Position:
    """The relative position of the axes of one table."""

    table: torch.Tensor  # R, (nq, nk, D)
    span_q: Span
    span_k: Span


class QueryPosition(Position):
    """E_ij = Q_i . R_ij (Eq. 3)."""

    def columns(self, q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return columns for q (G, heads, Nq, D) and k (G, heads, Nk, D), nk each."""
        return multiply(q, self.span_q, self.table.transpose(1, 2)), one_hot(self.span_k, k)

    def add_to(self, logits: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Add E to logits (G, heads, Nq, Nk)."""
        query = q.unflatten(2, self.span_q)
        term = torch.einsum("ghaibd,ikd->ghaibk", query, self.table).flatten(2, 4)
        return (logits.unflatten(3, self.span_k) + term[..., None, :, None]).flatten(3)


class KeyPosition(Position):
    """E_ij = K_j . R_ij (appendix A.4); K is not scaled, like Q of the released code."""

    def columns(self, q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return columns for q (G, heads, Nq, D) and k (G, heads, Nk, D), nq each."""
        return one_hot(self.span_q, q), multiply(k, self.span_k, self.table.permute(1, 2, 0))

    def add_to(self, logits: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Add E to logits (G, heads, Nq, Nk)."""
        key = k.unflatten(2, self.span_k)
        term = torch.einsum("ghajbd,ijd->ghiajb", key, self.table).flatten(3)
        return (logits.unflatten(2, self.span_q) + term[:, :, None, :, None]).flatten(2, 4)


class ValuePosition(Position):
    """The sum over keys j of A_ij R_ij, a term of the output (appendix A.4)."""

    def columns(self, v: torch.Tensor) -> torch.Tensor:
        """Return nk columns for v: attention makes of them its weights, summed by coordinate."""
        return one_hot(self.span_k, v)

    def sums(self, weights: torch.Tensor) -> torch.Tensor:
        """Sum weights (G, heads, Nq, Nk) over the keys of each coordinate: (G, heads, Nq, nk)."""
        return weights.unflatten(3, self.span_k).sum(dim=(3, 5))

    def output(self, sums: torch.Tensor) -> torch.Tensor:
        """Return the term (G, heads, Nq, D) from the weights summed by coordinate."""
        return multiply(sums, self.span_q, self.table)


@dataclass(frozen=True)
class RegionMask:
    """Forbid attention between the regions of a window along one axis (Swin)."""

    region_q: torch.Tensor  # (windows, 1, Nq, 1), 0 or 1
    region_k: torch.Tensor  # (windows, 1, Nk, 1)

    def columns(self, q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two columns each for q (G, heads, Nq, D) and k (G, heads, Nk, D)."""
        other = torch.cat([self.region_q, 1 - self.region_q], dim=-1) * MASK
        own = torch.cat([1 - self.region_k, self.region_k], dim=-1)
        return _per_sample(other, q), _per_sample(own, k)

    def add_to(self, logits: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Make logits (G, heads, Nq, Nk) between regions very negative."""
        differ = self.region_q != self.region_k.transpose(2, 3)
        mask = differ.to(logits.dtype) * MASK
        return (logits.unflatten(0, (-1, mask.shape[0])) + mask).flatten(0, 1)


LogitTerm = QueryPosition | KeyPosition | RegionMask


class Terms(NamedTuple):
    """All terms of one attention."""

    logits: list[LogitTerm]
    values: list[ValuePosition]


def _per_sample(columns: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Repeat (windows, 1, N, C) for all samples and heads of (G, heads, N, D)."""
    return columns.repeat(like.shape[0] // columns.shape[0], 1, 1, 1)


def one_hot(span: Span, like: torch.Tensor) -> torch.Tensor:
    """One-hot encode the coordinate of each token of a group along some axes.

    Args:
        span: of these axes.
        like: tensor whose dtype and device the result has.

    Returns:
        (N, count) of zeros and ones, with a 1 per row.
    """
    before, count, after = span
    numbers = torch.arange(count, device=like.device)
    coordinate = numbers[:, None].expand(before, -1, after).reshape(-1, 1)
    return (coordinate == numbers).to(like.dtype)


def multiply(x: torch.Tensor, span: Span, matrices: torch.Tensor) -> torch.Tensor:
    """Multiply the vector of each token with the matrix of its coordinate along some axes.

    Args:
        x: (G, heads, N, K) from a partition's split: heads after tokens in memory.
        span: of these axes.
        matrices: (count, K, M).

    Returns:
        (G, heads, N, M), laid out in memory like x.
    """
    groups, heads, _, width = x.shape
    before, count, after = span
    tokens = x.transpose(1, 2)  # (G, N, heads, K), contiguous
    matrices = matrices.to(x.dtype)
    if is_exporting():
        # (count, G * all other axes * heads, K): one matrix per coordinate, of any grid
        stacked = tokens.unflatten(1, span).movedim(2, 0)
        product = (stacked.flatten(1, -2) @ matrices).unflatten(1, stacked.shape[1:-1])
        product = product.movedim(0, 2)
    elif after == 1:
        # (rest, count * heads, K) -> (count * heads, rest, K): one matrix per coordinate and head.
        # Its rows are strided in memory; the batched product reads them in place.
        stacked = tokens.reshape(-1, count * heads, width).transpose(0, 1)
        product = torch.bmm(stacked, matrices.repeat_interleave(heads, dim=0)).transpose(0, 1)
    else:
        # (before * count, after, K): all tokens after the axes share one matrix
        stacked = tokens.reshape(groups * before * count, -1, width)
        product = torch.bmm(stacked, matrices.repeat(groups * before, 1, 1))
    return product.reshape(groups, -1, heads, matrices.shape[-1]).transpose(1, 2)
