"""What the processor is good at, and MLPs whose intermediate results stay in its cache."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch


@cache
def _capabilities() -> Mapping[str, Any]:
    """Return the processor's flags; none if torch is too old to read them."""
    return getattr(torch.cpu, "get_capabilities", dict)()


@cache
def has_slow_linear_layers() -> bool:
    """Return whether torch's linear layers in float32 are slow: MKL on an AMD CPU with AVX-512.

    MKL computes 55 to 110 GFLOP/s per core there, oneDNN 200 to 250. The answer depends on the
    processor alone: one by timing could differ between a training and its continuation.
    """
    flags = _capabilities()
    return (
        "AMD" in flags.get("cpu_name", "")
        and flags.get("avx512_f", False)
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
    )


@cache
def has_fast_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16: AVX-512 BF16 or AMX."""
    flags = _capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def is_exporting() -> bool:
    """Return whether `torch.export` traces: sizes are then symbols, and no branch may read one."""
    return getattr(torch.compiler, "is_exporting", bool)()  # torch 2.6 lacks it


def is_eager_cpu(x: torch.Tensor) -> bool:
    """Return whether a tensor is on a CPU, without tracing or compilation."""
    return not (x.device.type != "cpu" or torch.jit.is_tracing() or torch.compiler.is_compiling())


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
