"""One transformer block: attention and MLP, each with its skip connection."""

import torch
from torch import nn

from mvit_det.backbone.attention import MultiScaleAttention
from mvit_det.backbone.layers import DropPath, Mlp, in_chunks, wants_whole_tensors
from mvit_det.backbone.plan import BlockSpec
from mvit_det.backbone.pooling import max_pool


class MultiScaleBlock(nn.Module):
    """Pre-norm block whose attention may shrink the grid and which may widen the channels.

    Channels grow in the attention of a stage's first block or in the MLP of a stage's last one; the
    one ``proj`` widens the skip connection of whichever it is.
    """

    def __init__(
        self,
        spec: BlockSpec,
        *,
        mlp_ratio: float,
        norm_layer: type[nn.Module],
        act_layer: type[nn.Module],
        **attention_options,
    ):
        super().__init__()
        self.stride_skip = spec.stride_q if max(spec.stride_q) > 1 else None
        self.widens_attention = spec.dim_attention != spec.dim_in
        self.widens_mlp = spec.dim_out != spec.dim_attention

        self.norm1 = norm_layer(spec.dim_in)
        self.attn = MultiScaleAttention(spec, norm_layer=norm_layer, **attention_options)
        self.drop_path = DropPath(spec.drop_path) if spec.drop_path > 0.0 else nn.Identity()
        self.norm2 = norm_layer(spec.dim_attention)
        self.mlp = Mlp(
            spec.dim_attention, int(spec.dim_attention * mlp_ratio), spec.dim_out, act_layer
        )
        if self.widens_attention or self.widens_mlp:
            self.proj = nn.Linear(spec.dim_in, spec.dim_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, *grid, dim_in) -> (B, *pooled grid, dim_out)."""
        normed = self.norm1(x)
        # NOTE: a widened skip starts from the normalised tokens, a plain one from the raw tokens.
        skip = self.proj(normed) if self.widens_attention else x
        if self.stride_skip:
            skip = max_pool(skip, self.stride_skip)
        x = skip + self.drop_path(self.attn(normed))
        if self.training or wants_whole_tensors(x):
            return self.feed_forward(x)
        return in_chunks(self.feed_forward, x)

    def feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        """The second half of the block, token by token: (..., dim_attention) -> (..., dim_out)."""
        normed = self.norm2(x)
        skip = self.proj(normed) if self.widens_mlp else x
        return skip + self.drop_path(self.mlp(normed))
