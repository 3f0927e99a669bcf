"""Patch embedding, MLP and stochastic depth."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}


class PatchEmbed(nn.Module):
    """Embed overlapping patches by one strided convolution (paper, appendix B.1).

    Args:
        kernel: size along each axis, in pixels (and frames).
        stride: of the patches, likewise.
        padding: zeros at each end of an axis, likewise.
        in_chans: channels of the input.
        embed_dim: channels of the tokens.
    """

    def __init__(
        self,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        in_chans: int,
        embed_dim: int,
    ):
        super().__init__()
        self.proj = CONVOLUTIONS[len(kernel)](
            in_chans, embed_dim, tuple(kernel), tuple(stride), tuple(padding)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, [T,] H, W) to (B, *grid, embed_dim), with grid = ceil(size / stride)."""
        # (B, C, *grid) -> (B, *grid, C); contiguous, so that every later linear layer is one GEMM
        return self.proj(x).movedim(1, -1).contiguous()


class Mlp(nn.Module):
    """Linear, activation, linear, on the last axis."""

    def __init__(self, dim_in: int, dim_hidden: int, dim_out: int, act_layer: Callable):
        super().__init__()
        self.fc1 = nn.Linear(dim_in, dim_hidden)
        self.act = act_layer()
        self.fc2 = nn.Linear(dim_hidden, dim_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., dim_in) to (..., dim_out)."""
        return self.fc2(self.act(self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth per sample (Huang et al., 2016): zero a branch, or divide by 1 - rate."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, parts: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Zero samples with probability ``rate`` in training, the same in all tensors (B, ...)."""
        if not self.training or self.rate == 0.0:
            return parts
        keep = 1.0 - self.rate
        mask = parts[0].new_empty(parts[0].shape[0]).bernoulli_(keep)
        if keep > 0.0:
            mask.div_(keep)
        return [part * mask.view(-1, *(1,) * (part.ndim - 1)) for part in parts]

    def extra_repr(self) -> str:
        """Show the rate when the module is printed."""
        return f"rate={self.rate:.3f}"
