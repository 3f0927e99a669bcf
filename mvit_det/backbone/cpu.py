"""Faster inference on a CPU: the same numbers, computed in another order."""

from collections.abc import Callable

import torch


def is_eager_cpu(x: torch.Tensor) -> bool:
    """Return whether a tensor is on a CPU, without tracing or compilation."""
    return not (
        x.device.type != "cpu" or torch.jit.is_tracing() or torch.compiler.is_compiling()
    )


def is_cpu_inference(x: torch.Tensor) -> bool:
    """Return whether this is inference on a CPU, without autograd, tracing or compilation."""
    return not torch.is_grad_enabled() and is_eager_cpu(x)


def map_chunks(
    function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, tokens: int = 2048
) -> torch.Tensor:
    """Apply a token-wise function, (..., C) -> (..., C'), in chunks during CPU inference.

    Intermediate results, four times as wide in an MLP, then stay in the processor's cache. This
    halves the time of the MLP at high resolution, and the result is the same bit for bit. With
    autograd, on another device, or if ``x`` is empty, the function is called once.

    Args:
        function: (N, C) -> (N, C'), each token independently.
        x: (..., C).
        tokens: largest number N of tokens in a chunk.

    Returns:
        (..., C').
    """
    if not is_cpu_inference(x) or x.numel() == 0:
        return function(x)
    flat = x.flatten(0, -2)
    first = function(flat[:tokens])
    out = first.new_empty(flat.shape[0], first.shape[-1])
    out[:tokens] = first
    for start in range(tokens, flat.shape[0], tokens):
        out[start : start + tokens] = function(flat[start : start + tokens])
    return out.unflatten(0, x.shape[:-1])
