"""Attention on CPUs in chunks: logits stay in the cache, and are recomputed for the gradients.

torch's fused attention on CPUs calls MKL and gains nothing from bfloat16. The plain products of
chunks take oneDNN's kernels instead, and values need not be as wide as queries and keys.
"""

from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F

from mvit_det.kernels.cpu import (
    has_fast_bfloat16,
    has_slow_linear_layers,
    is_eager_cpu,
    is_exporting,
)
from mvit_det.kernels.products import multiply, multiply_transposed

CHUNK = 1 << 18  # logits of a chunk: 1 MiB in float32
CHUNK_ROWS = 784  # of one head, at least: each chunk reads all keys
FEWEST_ROWS = 256  # of one head, for products by convolutions in float32


def _runs_in_chunks(q: torch.Tensor, k: torch.Tensor) -> bool:
    """Return whether `attend` is faster than torch's fused attention for these queries."""
    if not is_eager_cpu(q) or 0 in (q.numel(), k.numel()):
        return False
    if q.dtype == torch.bfloat16:
        return has_fast_bfloat16()
    return q.dtype == torch.float32 and has_slow_linear_layers()


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Compute softmax(q k^T) v.

    Args:
        q: (G, heads, Nq, E).
        k: (G, heads, Nk, E), scaled.
        v: (G, heads, Nk, D).

    Returns:
        (G, heads, Nq, D), in memory (G, Nq, heads, D).
    """
    if _runs_in_chunks(q, k):
        return _Attention.apply(q, k, v)
    if is_exporting():  # other runtimes fuse, or do not, what they recognise
        return (q @ k.transpose(-2, -1)).softmax(-1) @ v
    # fused kernels require equal widths of q, k and v
    padded = F.pad(v, (0, q.shape[-1] - v.shape[-1]))
    return F.scaled_dot_product_attention(q, k, padded, scale=1.0)[..., : v.shape[-1]]


class _Attention(torch.autograd.Function):
    """Attention that stores no probabilities."""

    @staticmethod
    def forward(ctx, q, k, v):
        out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[-1]).transpose(1, 2)
        with torch.autocast("cpu", enabled=False):
            for rows, keys in _chunks(q, k):
                out[rows] = _times(_probabilities(q[rows], k[keys]), v[keys].transpose(-2, -1))
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    def backward(ctx, grad):
        q, k, v, out = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradients are to be differentiated
            plain = (q @ k.transpose(-2, -1)).softmax(-1) @ v
            return torch.autograd.grad(plain, (q, k, v), grad, create_graph=True)
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        with torch.autocast("cpu", enabled=False):
            for rows, keys in _chunks(q, k):
                part = grad[rows]
                weights = _probabilities(q[rows], k[keys])
                grad_v[keys] += _transposed_times(weights, part)
                # derivative of softmax: p (dp - sum of p dp), and that sum is out . grad
                total = (out[rows] * part).sum(-1, keepdim=True)
                slopes = _times(part, v[keys]).sub_(total).mul_(weights)
                grad_q[rows] = _times(slopes, k[keys].transpose(-2, -1))
                grad_k[keys] += _transposed_times(slopes, q[rows])
        return grad_q, grad_k, grad_v


def _probabilities(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return _times(q, k).softmax(-1)


def _chunks(q: torch.Tensor, k: torch.Tensor) -> Iterator[tuple[tuple, tuple]]:
    """Yield indices of queries and of their keys: some groups, or some rows of one head."""
    groups, heads, rows, _ = q.shape
    logits = rows * k.shape[2]
    if heads * logits <= CHUNK or rows < FEWEST_ROWS:
        step = max(1, CHUNK // (heads * logits))
        for start in range(0, groups, step):
            part = (slice(start, start + step),)
            yield part, part
        return
    step = max(CHUNK_ROWS, CHUNK // k.shape[2] // 16 * 16)
    for group, head, start in product(range(groups), range(heads), range(0, rows, step)):
        yield (group, head, slice(start, start + step)), (group, head)


def _times(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Compute ``x @ y.T``."""
    if x.ndim == 2 and x.dtype == torch.float32:
        return multiply(x, y, None)
    return x @ y.transpose(-2, -1)


def _transposed_times(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Compute ``x.T @ y``."""
    if x.ndim == 2 and x.dtype == torch.float32:
        return multiply_transposed(y, x)
    return x.transpose(-2, -1) @ y
