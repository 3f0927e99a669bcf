"""Matrix products in float32 on processors where torch's linear layers are slow.

On x86, `torch.nn.functional.linear` calls MKL in float32, which is slow on AMD processors
(`has_slow_linear_layers`). torch calls oneDNN for convolutions, so here a linear layer is a 1x1
convolution of its tokens.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.grad import conv2d_weight

from mvit_det.kernels.cpu import has_slow_linear_layers, is_eager_cpu

FEWEST_TOKENS = 64  # below, calling a convolution costs more than it saves
GRADIENT_CHUNK = 3200  # tokens whose products with a weight's gradient stay in the cache


class Linear(nn.Linear):
    """A linear layer with the weights of `torch.nn.Linear`, applied by `linear`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return linear(x, self.weight, self.bias)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Compute ``x @ weight.T + bias``, by oneDNN where that is faster.

    Args:
        x: (..., K).
        weight: (N, K).
        bias: (N,) or None.

    Returns:
        (..., N).
    """
    if not _by_onednn(x):
        return F.linear(x, weight, bias)
    return _Linear.apply(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])


def _by_onednn(x: torch.Tensor) -> bool:
    """Return whether `linear` is a convolution for this input."""
    return (
        is_eager_cpu(x)
        and x.dtype == torch.float32
        and x.numel() >= FEWEST_TOKENS * x.shape[-1] > 0
        and not torch.is_autocast_enabled("cpu")  # its bfloat16 calls oneDNN anyway
        and has_slow_linear_layers()
    )


class _Linear(torch.autograd.Function):
    """A linear layer whose three products are computed by oneDNN."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return multiply(x, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        # oneDNN has a fast kernel for contiguous weights alone
        grad_x = linear(grad, weight.t().contiguous()) if wants_x else None
        grad_weight = multiply_transposed(x, grad) if wants_weight else None
        return grad_x, grad_weight, grad.sum(0) if wants_bias else None


def multiply(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Compute ``x @ weight.T + bias`` for x (M, K), as a convolution of M pixels.

    A dilation, which has no effect on a 1x1 kernel, makes torch call oneDNN for any M.
    """
    pixels = x.contiguous().view(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight.contiguous()[:, :, None, None], bias, dilation=2)
    return out.permute(0, 2, 3, 1).reshape(-1, weight.shape[0])


def multiply_transposed(x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """Compute ``grad.T @ x``, (N, K), for x (M, K) and grad (M, N), as a convolution's gradient."""
    whole = len(x) // 16 * 16
    total = grad[whole:].t() @ x[whole:]
    for start in range(0, whole, GRADIENT_CHUNK):
        part = slice(start, min(start + GRADIENT_CHUNK, whole))
        # from a batch of 16 on, torch calls oneDNN without a dilation, which is slower here
        pixels, outputs = (
            y[part].contiguous().view(16, -1, 1, y.shape[-1]).permute(0, 3, 1, 2) for y in (x, grad)
        )
        shape = (grad.shape[-1], x.shape[-1], 1, 1)
        total += conv2d_weight(pixels, shape, outputs).flatten(1)
    return total
