"""One transformer block: attention and MLP, each with its skip connection."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mvit_det.backbone.attention import MultiScaleAttention
from mvit_det.backbone.layers import DropPath, Mlp
from mvit_det.backbone.plan import BlockOptions, BlockSpec
from mvit_det.backbone.pooling import max_pool
from mvit_det.kernels.cpu import map_chunks
from mvit_det.kernels.products import Linear

# What a block can compute again in the backward pass instead of storing it -> parts that do so.
RECOMPUTED: dict[bool | str, tuple[str, ...]] = {
    False: (),
    True: ("block",),
    "branches": ("attention", "mlp"),
    "attention": ("attention",),
    "mlp": ("mlp",),
}


class MultiScaleBlock(nn.Module):
    """Pre-norm block that may pool the grid and widen the channels.

    Channels grow in the attention of a stage's first block (paper, appendix B.1) or in the MLP of a
    stage's last block (MViTv1); in either case ``proj`` widens the skip connection.

    Args:
        spec: sizes, strides and window of this block.
        options: shared by all blocks.
        recompute: what is computed again in the backward pass, see `MultiscaleTransformer`; the
            caller does it for the whole block, by `call`.

    Raises:
        ValueError: ``recompute`` is not a key of `RECOMPUTED`.
    """

    def __init__(self, spec: BlockSpec, options: BlockOptions, recompute: bool | str = False):
        super().__init__()
        if recompute not in list(RECOMPUTED):  # (a list, since lists are not hashable)
            choices = ", ".join(map(repr, RECOMPUTED))
            raise ValueError(f"use_act_checkpoint={recompute!r} is not known: use {choices}.")
        self.recomputed = RECOMPUTED[recompute]
        self.stride_skip = spec.stride_q if max(spec.stride_q) > 1 else None
        self.widens_attention = spec.dim_attention != spec.dim_in
        self.widens_mlp = spec.dim_out != spec.dim_attention

        self.norm1 = options.norm_layer(spec.dim_in)
        self.attn = MultiScaleAttention(spec, options)
        self.drop_path = DropPath(spec.drop_path)
        self.norm2 = options.norm_layer(spec.dim_attention)
        hidden = int(spec.dim_attention * options.mlp_ratio)
        self.mlp = Mlp(spec.dim_attention, hidden, spec.dim_out, options.act_layer)
        if self.widens_attention or self.widens_mlp:
            self.proj = Linear(spec.dim_in, spec.dim_out)

    def forward(
        self, x: torch.Tensor, class_token: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Apply the block to tokens and class token.

        Args:
            x: (B, *grid, dim_in).
            class_token: (B, 1, dim_in) or None.

        Returns:
            (B, *pooled grid, dim_out), and (B, 1, dim_out) or None.
        """
        parts: Sequence[torch.Tensor] = (x,) if class_token is None else (x, class_token)
        parts = self.add(*call(self.attend, *parts, recompute="attention" in self.recomputed))
        if self.training:
            parts = self.add(*zip(*map(self._feed_forward, parts)))
        else:
            parts = [map_chunks(lambda x: torch.add(*self._feed_forward(x)), x) for x in parts]
        return parts[0], None if class_token is None else parts[1]

    def attend(self, *parts: torch.Tensor) -> tuple[list[torch.Tensor], tuple]:
        """Compute skips and branches of the attention, which are to be added.

        Args:
            *parts: tokens (B, *grid, dim_in) and, if there is one, the class token (B, 1, dim_in).

        Returns:
            Skips and branches, each (B, *pooled grid, dim_attention) and (B, 1, dim_attention).
        """
        normed = [self.norm1(part) for part in parts]
        # NOTE: a widened skip starts from the normalised tokens, a plain one from the raw tokens.
        skips = [self.proj(part) for part in normed] if self.widens_attention else list(parts)
        if self.stride_skip:
            skips[0] = max_pool(skips[0], self.stride_skip)
        return skips, self.attn(*normed)[: len(parts)]

    def feed_forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute skip and branch of the MLP, which are to be added.

        Args:
            x: (..., dim_attention).

        Returns:
            Two tensors (..., dim_out).
        """
        normed = self.norm2(x)
        return self.proj(normed) if self.widens_mlp else x, self.mlp(normed)

    def _feed_forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return call(self.feed_forward, x, recompute="mlp" in self.recomputed)

    def add(
        self, skips: Sequence[torch.Tensor], branches: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Add branches to skips, after stochastic depth.

        Args:
            skips: tokens (B, *grid, C) and, if there is one, the class token (B, 1, C).
            branches: the same shapes; a sample is dropped in both or in neither.

        Returns:
            The sums.
        """
        return [skip + branch for skip, branch in zip(skips, self.drop_path(branches))]


def call(function: Callable[..., Any], *tokens: torch.Tensor | None, recompute: bool) -> Any:
    """Call a function; if asked to, store nothing of it and call it again in the backward pass."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(function, *tokens, use_reentrant=False)
    return function(*tokens)
