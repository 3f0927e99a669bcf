"""Pooling of tokens over their grid (paper, section 4.1: pooling attention)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from mvit_det.backbone.layers import CONVOLUTIONS

_CONV = {2: F.conv2d, 3: F.conv3d}
_MAX_POOL = {2: F.max_pool2d, 3: F.max_pool3d}


def build_pool(head_dim: int, kernel: Sequence[int], stride: Sequence[int]) -> nn.Module:
    """The depthwise convolution that pools q, k or v; ``pool_heads`` applies it."""
    return CONVOLUTIONS[len(kernel)](
        head_dim,
        head_dim,
        tuple(kernel),
        stride=tuple(stride),
        padding=tuple(k // 2 for k in kernel),
        groups=head_dim,
        bias=False,
    )


def pool_heads(x: torch.Tensor, pool: nn.Module, num_heads: int) -> torch.Tensor:
    """Pool tokens with a depthwise convolution whose filter is shared by all heads.

    Args:
        x: (B, *grid, C) with C = num_heads * head_dim, head by head.
        pool: from ``build_pool``, weight (head_dim, 1, *kernel).

    Returns:
        (B, *pooled grid, num_heads, head_dim), contiguous; a grid of n gives ceil(n / stride).
    """
    # All heads at once: heads stay in the channels, and tokens stay channels-last in memory, so
    # that nothing is permuted. Only the small weight is repeated, once per head.
    weight = pool.weight.repeat(num_heads, *(1,) * (pool.weight.ndim - 1))
    pooled = _CONV[len(pool.stride)](
        x.movedim(-1, 1), weight, None, pool.stride, pool.padding, groups=x.shape[-1]
    )
    # (B, C, *grid) -> (B, *grid, heads, head_dim)
    return pooled.movedim(1, -1).contiguous().unflatten(-1, (num_heads, -1))


def max_pool(x: torch.Tensor, stride: Sequence[int]) -> torch.Tensor:
    """Pool the skip connection like the queries: (B, *grid, C) -> (B, *pooled grid, C).

    The kernel is one larger than the stride, and 1 along an axis that is not pooled.
    """
    kernel = tuple(s + 1 if s > 1 else 1 for s in stride)
    padding = tuple(k // 2 for k in kernel)
    pooled = _MAX_POOL[len(kernel)](x.movedim(-1, 1), kernel, tuple(stride), padding)
    return pooled.movedim(1, -1)
