"""What inference on a CPU does differently: the same numbers, in another order of work."""

from collections.abc import Callable

import torch


def infers_on_cpu(x: torch.Tensor) -> bool:
    """Whether this is inference on a CPU, and no graph of it is being recorded."""
    return not (
        torch.is_grad_enabled()
        or x.device.type != "cpu"
        or torch.jit.is_tracing()
        or torch.compiler.is_compiling()
    )


def in_chunks(
    function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, tokens: int = 2048
) -> torch.Tensor:
    """Apply a function of single tokens, (..., C) -> (..., C'); on a CPU chunk by chunk.

    What it holds in between, four times as wide in an MLP, then stays in the processor's cache: that
    halves the time of the MLP at high resolution, and the result is the same bit for bit. Where this
    is not inference on a CPU, or there is no token, the function gets all of them at once.
    """
    if not infers_on_cpu(x) or x.numel() == 0:
        return function(x)
    flat = x.flatten(0, -2)
    out = None
    for start in range(0, flat.shape[0], tokens):
        part = function(flat[start : start + tokens])
        if out is None:
            out = part.new_empty(flat.shape[0], part.shape[-1])
        out[start : start + tokens] = part
    return out.unflatten(0, x.shape[:-1])
