"""Torch functions and modules under the names that Detectron2 configs use."""

from typing import Any, Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

ConvTranspose2d = nn.ConvTranspose2d
Linear = nn.Linear


def cat(tensors: Sequence[torch.Tensor], dim: int = 0) -> torch.Tensor:
    """``torch.cat`` that hands a single tensor back without a copy."""
    return torch.cat(tensors, dim) if len(tensors) != 1 else tensors[0]


def nonzero_tuple(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Indices of the nonzero elements, one tensor per dimension; a scalar counts as 1-D."""
    return torch.atleast_1d(x).nonzero(as_tuple=True)


def cross_entropy(
    input: torch.Tensor, target: torch.Tensor, *, reduction: str = "mean", **kwargs: Any
) -> torch.Tensor:
    """``F.cross_entropy`` whose mean over no samples is 0, with a gradient, instead of NaN."""
    if reduction == "mean" and len(target) == 0:
        reduction = "sum"
    return F.cross_entropy(input, target, reduction=reduction, **kwargs)


class Conv2d(nn.Conv2d):
    """Convolution, then ``norm``, then ``activation``, where given.

    The norm is part of the module, so its parameters are named ``<conv>.norm.*``.
    """

    def __init__(
        self,
        *args: Any,
        norm: nn.Module | None = None,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
        **kwargs: Any,
    ):
        """Positional and further keyword arguments are those of ``torch.nn.Conv2d``."""
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for step in (super().forward, self.norm, self.activation):
            x = x if step is None else step(x)
        return x
