"""Pooling attention with decomposed relative position and residual pooling (paper, section 4.1).

Legend: B = batch, grid = (H, W) or (T, H, W) tokens, C = channels, D = channels per head,
G = groups of tokens that attend to each other (windows), Nq, Nk = queries and keys in a group,
nq, nk = the same along one axis. The class token, if any, is kept apart from the grid: it attends
to all tokens and all attend to it; it is not pooled and has no position and no residual pooling.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from mvit_det.backbone.chunked_attention import attend
from mvit_det.backbone.cpu import is_exporting
from mvit_det.backbone.partition import Full, Windows
from mvit_det.backbone.plan import BlockOptions, BlockSpec, divide
from mvit_det.backbone.pooling import build_pool, pool_heads
from mvit_det.backbone.position import relative_position
from mvit_det.backbone.products import Linear, linear

AXIS_NAMES = {2: ("h", "w"), 3: ("t", "h", "w")}


class MultiScaleAttention(nn.Module):
    """Project, pool, split into groups, attend, merge, add the pooled query, project.

    For every query i and key j of a group (Eq. 3-5):

        Z = softmax(Q K^T / sqrt(D) + E) V + Q,    E_ij = Q_i . (R^h_ij + R^w_ij [+ R^t_ij])

    NOTE: Eq. 3 of the paper scales both terms by 1/sqrt(D). All released code leaves E unscaled, as
    above, and the published weights were trained that way.

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
            self.add_module(f"pool_{name}", build_pool(head_dim, options.pool_kernel, stride))
            self.add_module(f"norm_{name}", options.norm_layer(head_dim))

        self.partition_q: Full | Windows = Full()
        self.partition_kv: Full | Windows = Full()
        if spec.window is not None:
            self.partition_q = Windows(divide(spec.window, spec.stride_q))
            self.partition_kv = Windows(divide(spec.window, spec.stride_kv))

        self.rel_pos_names: tuple[str, ...] = ()
        if options.use_rel_pos:
            self.rel_pos_names = tuple(f"rel_pos_{axis}" for axis in AXIS_NAMES[len(spec.grid)])
            for name, nq, nk in zip(self.rel_pos_names, spec.grid_q, spec.grid_kv):
                table = nn.Parameter(torch.zeros(2 * max(nq, nk) - 1, head_dim))
                if not options.rel_pos_zero_init:
                    nn.init.trunc_normal_(table, std=0.02)
                self.register_parameter(name, table)

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
        positions = self.relative_positions(grid_q, grid_kv)
        attend = self.attend_fused if self.fused else self.attend_plain
        class_qkv = None if class_token is None else self.project_class_token(class_token)
        out, class_out = attend(q, k, v, positions, class_qkv)
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

    def relative_positions(
        self, grid_q: tuple[int, ...], grid_kv: tuple[int, ...]
    ) -> list[torch.Tensor]:
        """Look up R of Eq. 4 for every axis.

        Args:
            grid_q: tokens of the pooled queries along each axis.
            grid_kv: tokens of the pooled keys along each axis.

        Returns:
            Per axis (nq, nk, D), for one group of tokens; [] without relative position.
        """
        extents = zip(self.partition_q.extent(grid_q), self.partition_kv.extent(grid_kv))
        return [
            relative_position(getattr(self, name), nq, nk)
            for name, (nq, nk) in zip(self.rel_pos_names, extents)
        ]

    def attend_fused(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        positions: list[torch.Tensor],
        class_qkv: list[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend exactly, position included, without storing the (Nq, Nk) attention map.

        The term of one axis depends on the key only through its coordinate on that axis. So E is
        an inner product of the query's nk terms, appended to the query, and the one-hot coordinate
        of the key, appended to the key. One call of fused attention computes the rest:

            q' = [q, q.R^h, q.R^w],   k' = [k / sqrt(D), onehot(h), onehot(w)],   q'.k' = logits

        The class token has zeros in these columns. Its query is one row and attends in a separate
        call, since concatenating it with the others would copy them all. ``spare_columns`` of
        zeros may follow.

        Arguments and results are those of ``attend_plain``.
        """
        q = self.partition_q.split(q)
        k = self.partition_kv.split(k * self.scale)
        v = self.partition_kv.split(v)
        head_dim = q.shape[-1]
        if positions:
            extent = [table.shape[1] for table in positions]
            spare = spare_columns(head_dim + sum(extent), q.device)
            zeros = q.new_zeros(1).expand(*q.shape[:-1], spare)
            q = torch.cat([q, *axis_terms(q, positions), zeros], dim=-1)
            code = F.pad(coordinate_code(extent, k), (0, spare))
            k = torch.cat([k, code.expand(*k.shape[:-1], -1)], dim=-1)
        class_out = None
        if class_qkv is not None:
            padding = (0, q.shape[-1] - head_dim)
            class_q, class_k = (F.pad(token, padding) for token in class_qkv[:2])
            k = torch.cat([class_k * self.scale, k], dim=2)
            v = torch.cat([class_qkv[2], v], dim=2)
            class_out = attend(class_q, k, v)
        return attend(q, k, v), class_out

    def attend_plain(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        positions: list[torch.Tensor],
        class_qkv: list[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend as Eq. 2 to 4 are written: the readable reference, used to count FLOPs.

        Args:
            q: (B, *grid_q, heads, D), pooled.
            k: (B, *grid_kv, heads, D), pooled.
            v: (B, *grid_kv, heads, D), pooled.
            positions: per axis (nq, nk, D), R of Eq. 4; empty for none.
            class_qkv: q, k and v of the class token, each (B, heads, 1, D), or None; not with
                windows.

        Returns:
            (G, heads, Nq, D), which the partition of the queries merges; and the output of the
            class token (B, heads, 1, D), or None.
        """
        q, k, v = self.partition_q.split(q), self.partition_kv.split(k), self.partition_kv.split(v)
        logits = (q * self.scale) @ k.transpose(-2, -1)
        if positions:
            axes = len(positions)
            extent_q = [table.shape[0] for table in positions]
            extent_k = [table.shape[1] for table in positions]
            # (G, heads, Nq, D) -> (G, heads, *extent_q, D); logits get *extent_q, *extent_k
            query = q.unflatten(2, extent_q)
            logits = logits.unflatten(3, extent_k).unflatten(2, extent_q)
            for axis, table in enumerate(positions):
                grid = "thw"[-axes:]
                term = torch.einsum(f"gn{grid}d,{grid[axis]}kd->gn{grid}k", query, table)
                shape = [1] * axes
                shape[axis] = extent_k[axis]
                logits = logits + term.unflatten(-1, shape)
            logits = logits.flatten(2 + axes, -1).flatten(2, 1 + axes)
        if class_qkv is None:
            return logits.softmax(dim=-1) @ v, None
        class_q, class_k, class_v = class_qkv
        logits = torch.cat([(q * self.scale) @ class_k.transpose(-2, -1), logits], dim=-1)
        k, v = torch.cat([class_k, k], dim=2), torch.cat([class_v, v], dim=2)
        class_logits = (class_q * self.scale) @ k.transpose(-2, -1)
        return logits.softmax(dim=-1) @ v, class_logits.softmax(dim=-1) @ v


def axis_terms(q: torch.Tensor, positions: list[torch.Tensor]) -> list[torch.Tensor]:
    """Compute the inner products of every query with the nk position embeddings of its coordinate.

    Args:
        q: (G, heads, N, D) from a partition's split: heads after tokens in memory.
        positions: per axis (nq, nk, D), with the product of all nq equal to N.

    Returns:
        Per axis (G, heads, N, nk), laid out in memory like q.
    """
    groups, heads, _, head_dim = q.shape
    extent = [table.shape[0] for table in positions]
    tokens = q.transpose(1, 2)  # (G, N, heads, D), contiguous
    terms = []
    for axis, table in enumerate(positions):
        weight = table.to(q.dtype).transpose(1, 2)  # (nq, D, nk)
        if is_exporting():
            # (nq, groups * all other axes * heads, D): one matrix per position, of any grid
            stacked = tokens.unflatten(1, extent).movedim(1 + axis, 0)
            product = (stacked.flatten(1, -2) @ weight).unflatten(1, stacked.shape[1:-1])
            product = product.movedim(0, 1 + axis)
        elif axis == len(extent) - 1:
            # (rest, nq * heads, D) -> (nq * heads, rest, D): one matrix per position and head. Its
            # rows are strided in memory; the batched product reads them in place.
            stacked = tokens.reshape(-1, extent[axis] * heads, head_dim).transpose(0, 1)
            product = torch.bmm(stacked, weight.repeat_interleave(heads, dim=0)).transpose(0, 1)
        else:
            # (before * nq, after, D): all tokens after the axis share one matrix
            before = groups * math.prod(extent[:axis])
            stacked = tokens.reshape(before * extent[axis], -1, head_dim)
            product = torch.bmm(stacked, weight.repeat(before, 1, 1))
        terms.append(product.reshape(groups, -1, heads, table.shape[1]).transpose(1, 2))
    return terms


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


def coordinate_code(extent: list[int], like: torch.Tensor) -> torch.Tensor:
    """One-hot encode the coordinates of a group of N tokens, for k' of ``attend_fused``.

    Args:
        extent: tokens of the group along each axis; their product is N.
        like: tensor whose dtype and device the result has.

    Returns:
        (N, sum of extent) of zeros and ones, with one 1 per axis in each row.
    """
    axes = torch.meshgrid(*(torch.arange(n, device=like.device) for n in extent), indexing="ij")
    codes = [
        axis.flatten()[:, None] == torch.arange(n, device=like.device)
        for axis, n in zip(axes, extent)
    ]
    return torch.cat(codes, dim=-1).to(like.dtype)
