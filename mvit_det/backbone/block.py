"""One transformer block: attention and MLP, each with its skip connection."""

from collections.abc import Sequence

import torch
from torch import nn

from mvit_det.backbone.attention import MultiScaleAttention
from mvit_det.backbone.cpu import map_chunks
from mvit_det.backbone.layers import DropPath, Mlp
from mvit_det.backbone.plan import BlockOptions, BlockSpec
from mvit_det.backbone.pooling import max_pool
from mvit_det.backbone.products import Linear


class MultiScaleBlock(nn.Module):
    """Pre-norm block that may pool the grid and widen the channels.

    Channels grow in the attention of a stage's first block (paper, appendix B.1) or in the MLP of a
    stage's last block (MViTv1); in either case ``proj`` widens the skip connection.

    Args:
        spec: sizes, strides and window of this block.
        options: shared by all blocks.
    """

    def __init__(self, spec: BlockSpec, options: BlockOptions):
        super().__init__()
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
        normed = [self.norm1(part) for part in parts]
        # NOTE: a widened skip starts from the normalised tokens, a plain one from the raw tokens.
        skips = [self.proj(part) for part in normed] if self.widens_attention else list(parts)
        if self.stride_skip:
            skips[0] = max_pool(skips[0], self.stride_skip)
        parts = self.add(skips, self.attn(*normed)[: len(parts)])
        if self.training:
            parts = self.add(*zip(*map(self.feed_forward, parts)))
        else:
            parts = [map_chunks(lambda x: torch.add(*self.feed_forward(x)), part) for part in parts]
        return parts[0], None if class_token is None else parts[1]

    def feed_forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute skip and branch of the MLP, which are to be added.

        Args:
            x: (..., dim_attention).

        Returns:
            Two tensors (..., dim_out).
        """
        normed = self.norm2(x)
        return self.proj(normed) if self.widens_mlp else x, self.mlp(normed)

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
