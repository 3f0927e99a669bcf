"""Patch embedding, MLP and stochastic depth."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from mvit_det.kernels.cpu import is_exporting
from mvit_det.kernels.products import Linear

Convolution = nn.Conv2d | nn.Conv3d
# number of axes of the token grid -> convolution
CONVOLUTIONS: dict[int, Callable[..., Convolution]] = {2: nn.Conv2d, 3: nn.Conv3d}


class PatchEmbed(nn.Module):
    """Embed overlapping patches by one strided convolution, as in MViTv1.

    Args:
        kernel: size of a patch along each axis, in pixels (and frames).
        stride: distance between patches, in pixels (and frames).
        padding: zeros at each end of an axis, in pixels (and frames).
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
        """Embed an image or a clip.

        Args:
            x: (B, in_chans, H, W) or (B, in_chans, T, H, W).

        Returns:
            (B, *grid, embed_dim), contiguous, with grid = ceil(size / stride).
        """
        # (B, C, *grid) -> (B, *grid, C); contiguous, so that every later linear layer is one GEMM
        return channels_last(self.proj(x)).contiguous()


class Mlp(nn.Module):
    """Linear, activation, linear, on each token separately.

    Args:
        dim_in: channels of the input.
        hidden: channels between the two linear layers.
        dim_out: channels of the output.
        act_layer: builds the activation.
    """

    def __init__(self, dim_in: int, hidden: int, dim_out: int, act_layer: Callable[[], nn.Module]):
        super().__init__()
        self.fc1 = Linear(dim_in, hidden)
        self.act = act_layer()
        self.fc2 = Linear(hidden, dim_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., dim_in) to (..., dim_out)."""
        return self.fc2(self.act(self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., ECCV 2016), decided per sample, in training only.

    Args:
        rate: probability that a branch is zero, in [0, 1]; a kept one is divided by 1 - rate.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, parts: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Zero or rescale each sample, identically in all tensors.

        Args:
            parts: tensors (B, ...) that belong together, such as tokens and class token.

        Returns:
            Tensors of the same shapes; ``parts`` itself in evaluation or at rate 0.
        """
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


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Move the channels of (B, C, *grid) to the end, (B, *grid, C): a view, except while exporting.

    OpenVINO drops the pair of permutations around a convolution if sizes are fixed. If they are
    not, it takes twice as long for the whole network, unless the convolution is followed by this
    one permutation of four axes, for which it has a fast kernel.
    """
    if not is_exporting() or not any(isinstance(n, torch.SymInt) for n in x.shape):
        return x.movedim(1, -1)
    rows = x.flatten(2).unsqueeze(2).permute(0, 3, 1, 2)  # (B, N, C, 1)
    return rows.flatten(2).unflatten(1, x.shape[2:])
