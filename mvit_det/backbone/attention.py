"""Pooling attention with relative position and residual pooling (paper, section 4.1).

Legend: B = batch, grid = (H, W) or (T, H, W) tokens, C = channels, D = channels per head,
G = groups of tokens that attend to each other (windows), Nq, Nk = queries and keys in a group,
nq, nk = the same along one axis. The class token, if any, is kept apart from the grid: it attends
to all tokens and all attend to it; it is not pooled and has no position and no residual pooling.
"""

from collections.abc import Iterable

import torch
from torch import nn

from mvit_det.backbone.partition import build_partition
from mvit_det.backbone.plan import BlockOptions, BlockSpec
from mvit_det.backbone.pooling import build_pool, pool_heads
from mvit_det.backbone.position import RelativeTable, relative_position, relative_tables
from mvit_det.backbone.terms import (
    KeyPosition,
    QueryPosition,
    RegionMask,
    Terms,
    ValuePosition,
    span_of,
)
from mvit_det.kernels.chunked_attention import attend
from mvit_det.kernels.products import Linear, linear


class MultiScaleAttention(nn.Module):
    """Project, pool, split into groups, attend, merge, add the pooled query, project.

    For every query i and key j of a group (Eq. 3-5):

        Z = softmax(Q K^T / sqrt(D) + E) V + Q,    E_ij = Q_i . (R^h_ij + R^w_ij [+ R^t_ij])

    NOTE: Eq. 3 of the paper scales both terms by 1/sqrt(D). All released code leaves E unscaled, as
    above, and the published weights were trained that way.

    Other kinds of position and the mask of shifted windows are `Terms` of the same attention.

    Args:
        spec: sizes, strides and window of this block.
        options: shared by all blocks.
    """

    def __init__(self, spec: BlockSpec, options: BlockOptions):
        super().__init__()
        self.num_heads = spec.num_heads
        head_dim = spec.dim_attention // spec.num_heads
        self.scale = head_dim**-0.5
        self.residual_pooling = options.residual_pooling
        self.fused = options.fused_attention

        self.qkv = Linear(spec.dim_in, 3 * spec.dim_attention, bias=options.qkv_bias)
        self.proj = Linear(spec.dim_attention, spec.dim_attention)
        for name, stride in (("q", spec.stride_q), ("k", spec.stride_kv), ("v", spec.stride_kv)):
            pooled = name in spec.pooled
            pool = build_pool(head_dim, options.pool_kernel, stride) if pooled else nn.Identity()
            self.add_module(f"pool_{name}", pool)
            norm = options.norm_layer(head_dim) if pooled else nn.Identity()
            self.add_module(f"norm_{name}", norm)

        self.partition_q = build_partition(spec.window, spec.stride_q, spec.shifted)
        self.partition_kv = build_partition(spec.window, spec.stride_kv, spec.shifted)

        axes = len(spec.grid)
        self.tables: list[RelativeTable] = []
        if options.use_rel_pos:
            self.tables = relative_tables(axes, options.rel_pos_tables, options.rel_pos_on)
            # The codes of a table of all axes are as wide as there are keys: nothing is saved.
            self.fused &= all(len(range(axes)[table.axes]) < axes for table in self.tables)
        for table in self.tables:
            sizes = zip(spec.grid_q[table.axes], spec.grid_kv[table.axes])
            rows = nn.Parameter(torch.zeros(*(2 * max(pair) - 1 for pair in sizes), head_dim))
            if not options.rel_pos_zero_init:
                nn.init.trunc_normal_(rows, std=0.02)
            self.register_parameter(table.name, rows)

    def forward(
        self, x: torch.Tensor, class_token: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Apply pooling attention (section 4.1) to the tokens of a grid and the class token.

        Args:
            x: (B, *grid, dim_in); any grid, which need not be the nominal one.
            class_token: (B, 1, dim_in) or None.

        Returns:
            (B, *pooled grid, C) with C = dim_attention, and (B, 1, C) or None.
        """
        q, k, v = self.project_and_pool(x)
        grid_q, grid_kv = q.shape[1:-2], k.shape[1:-2]
        terms = self.terms(grid_q, grid_kv, q)
        attend = self.attend_fused if self.fused else self.attend_plain
        class_qkv = None if class_token is None else self.project_class_token(class_token)
        out, class_out = attend(q, k, v, terms, class_qkv)
        out = self.partition_q.merge(out, grid_q)
        if self.residual_pooling:
            out = out + q  # Eq. 5
        if class_out is not None:
            # (B, heads, 1, D) -> (B, 1, C)
            class_out = self.proj(class_out.transpose(1, 2).flatten(-2))
        # (B, *grid_q, heads, D) -> (B, *grid_q, C)
        return self.proj(out.flatten(-2)), class_out

    def project_and_pool(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Compute pooled, normalised queries, keys and values (Eq. 1).

        Args:
            x: (B, *grid, dim_in).

        Returns:
            q (B, *grid_q, heads, D), k and v (B, *grid_kv, heads, D).
        """
        pooled = []
        # One GEMM per tensor instead of one for all three: the convolutions then read contiguous
        # memory, whereas slices of a joint result would have to be copied first.
        weights = self.qkv.weight.chunk(3)
        biases = (None,) * 3 if self.qkv.bias is None else self.qkv.bias.chunk(3)
        for name, weight, bias in zip("qkv", weights, biases):
            tokens = linear(x, weight, bias)
            tokens = pool_heads(tokens, getattr(self, f"pool_{name}"), self.num_heads)
            pooled.append(self.normalise(tokens, name))
        return pooled

    def project_class_token(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Compute q, k and v of the class token, normalised but not pooled.

        Args:
            x: (B, 1, dim_in).

        Returns:
            q, k and v, each (B, heads, 1, D).
        """
        tokens = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        return [
            self.normalise(token, name).transpose(1, 2)
            for token, name in zip(tokens.unbind(2), "qkv")
        ]

    def normalise(self, tokens: torch.Tensor, name: str) -> torch.Tensor:
        """Apply the norm that follows the pooling.

        Args:
            tokens: (..., D), D = channels of one head.
            name: "q", "k" or "v": each has a norm.

        Returns:
            The same shape; under autocast in its lower precision.
        """
        tokens = getattr(self, f"norm_{name}")(tokens)
        device = tokens.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            # autocast runs LayerNorm in float32; attention runs in its lower precision
            tokens = tokens.to(torch.get_autocast_dtype(device))
        return tokens

    def terms(self, grid_q: tuple[int, ...], grid_kv: tuple[int, ...], like: torch.Tensor) -> Terms:
        """Look up what enters attention beside q, k and v.

        Args:
            grid_q: tokens of the pooled queries along each axis.
            grid_kv: tokens of the pooled keys along each axis.
            like: tensor whose dtype and device masks have.

        Returns:
            Terms for one group of tokens: of the logits, of the output.
        """
        extent_q, extent_k = self.partition_q.extent(grid_q), self.partition_kv.extent(grid_kv)
        kinds = {"q": QueryPosition, "k": KeyPosition, "v": ValuePosition}
        found: dict[str, list] = {carrier: [] for carrier in kinds}
        for table in self.tables:
            axes = table.axes
            rows = relative_position(getattr(self, table.name), extent_q[axes], extent_k[axes])
            spans = span_of(extent_q, axes), span_of(extent_k, axes)
            found[table.carrier].append(kinds[table.carrier](rows, *spans))
        regions = self.partition_q.regions(grid_q, like), self.partition_kv.regions(grid_kv, like)
        masks = [RegionMask(region_q, region_k) for region_q, region_k in zip(*regions)]
        return Terms([*found["q"], *found["k"], *masks], found["v"])

    def attend_fused(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        terms: Terms,
        class_qkv: list[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend exactly, position included, without storing the (Nq, Nk) attention map.

        The term of one axis depends on the key only through its coordinate on that axis. So E is
        an inner product of the query's nk terms, appended to the query, and the one-hot coordinate
        of the key, appended to the key. One call of fused attention computes the rest:

            q' = [q, q.R^h, q.R^w],   k' = [k / sqrt(D), onehot(h), onehot(w)],   q'.k' = logits

        The class token has zeros in these columns. Its query is one row and attends in a separate
        call, since concatenating it with the others would copy them all. ``spare_columns`` of
        zeros may follow. Columns of v become sums of the weights by coordinate.

        Arguments and results are those of ``attend_plain``.
        """
        q, k, v = self.partition_q.split(q), self.partition_kv.split(k), self.partition_kv.split(v)
        columns = [term.columns(q, k) for term in terms.logits]
        sums = [term.columns(v) for term in terms.values]
        widths = [v.shape[-1], *(part.shape[-1] for part in sums)]
        v = append(v, sums, sum(widths))
        width = max(q.shape[-1] + sum(part.shape[-1] for part, _ in columns), v.shape[-1])
        width += spare_columns(width, q.device)
        q = append(q, [part for part, _ in columns], width)
        k = append(k * self.scale, [part for _, part in columns], width)
        class_out = None
        if class_qkv is not None:
            class_q, class_k, class_v = class_qkv
            class_q, class_k = (append(x, [], width) for x in (class_q, class_k * self.scale))
            k = torch.cat([class_k, k], dim=2)
            v = torch.cat([append(class_v, [], v.shape[-1]), v], dim=2)
            class_out = attend(class_q, k, v)[..., : widths[0]]
        out, *sums = attend(q, k, v).split(widths, dim=-1)
        for term, part in zip(terms.values, sums):
            out = out + term.output(part)
        return out, class_out

    def attend_plain(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        terms: Terms,
        class_qkv: list[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend as Eq. 2 to 4 are written: the readable reference, used to count FLOPs.

        Args:
            q: (B, *grid_q, heads, D), pooled.
            k: (B, *grid_kv, heads, D), pooled.
            v: (B, *grid_kv, heads, D), pooled.
            terms: relative position (E in Eq. 3) and masks, for one group of tokens.
            class_qkv: q, k and v of the class token, each (B, heads, 1, D), or None; not with
                windows.

        Returns:
            (G, heads, Nq, D), which the partition of the queries merges; and the output of the
            class token (B, heads, 1, D), or None.
        """
        q, k, v = self.partition_q.split(q), self.partition_kv.split(k), self.partition_kv.split(v)
        keys = k.shape[2]
        logits = (q * self.scale) @ k.transpose(-2, -1)
        for term in terms.logits:
            logits = term.add_to(logits, q, k)
        class_out = None
        if class_qkv is not None:
            class_q, class_k, class_v = class_qkv
            logits = torch.cat([(q * self.scale) @ class_k.transpose(-2, -1), logits], dim=-1)
            k, v = torch.cat([class_k, k], dim=2), torch.cat([class_v, v], dim=2)
            class_logits = (class_q * self.scale) @ k.transpose(-2, -1)
            class_out = class_logits.softmax(dim=-1) @ v
        weights = logits.softmax(dim=-1)
        out = weights @ v
        for value_term in terms.values:
            out = out + value_term.output(value_term.sums(weights[..., -keys:]))
        return out, class_out


def append(x: torch.Tensor, columns: Iterable[torch.Tensor], width: int) -> torch.Tensor:
    """Append columns to the vectors of tokens, and zeros up to a width.

    Args:
        x: (G, heads, N, D).
        columns: of these groups, heads and tokens, or equal for some of them.
        width: of the result.

    Returns:
        (G, heads, N, width); ``x`` itself if there is nothing to append.
    """
    if x.shape[-1] == width:
        return x
    parts = [x, *(part.expand(*x.shape[:-1], -1) for part in columns)]
    zeros = x.new_zeros(1).expand(*x.shape[:-1], width - sum(part.shape[-1] for part in parts))
    return torch.cat([*parts, zeros], dim=-1)


def spare_columns(width: int, device: torch.device) -> int:
    """Return the number of zero columns that bring ``width`` to one of the device's fused kernels.

    CUDA kernels take multiples of 8 in half precision and of 4 in single. For other widths torch
    pads with further copies or, in single precision, falls back to storing the attention map: the
    first blocks of video models are 96 + 8 + 7 + 7 = 118 wide.

    Args:
        width: channels of the queries without spare columns.
        device: where attention runs.
    """
    return 0 if device.type == "cpu" else -width % 8
