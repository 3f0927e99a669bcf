"""Windows of a token grid: to and fro in one copy each.

Padding, permuting and flattening by torch's operations needs up to three copies of all tokens. That
form serves compiled and exported networks, since it has one graph for all sizes.

Legend: N = tokens of a window, D = channels per head, size = tokens of a window along each axis.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import torch
import torch.nn.functional as F


def split_windows(x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Split a grid into windows; it is padded with zeros at its far ends to fit them.

    Args:
        x: (B, *grid, heads, D).
        size: tokens of a window along each axis.

    Returns:
        (B * windows, N, heads, D).
    """
    if torch.compiler.is_compiling():
        return _split_any_grid(x, size)
    return _SplitWindows.apply(x, size)


def merge_windows(x: torch.Tensor, size: tuple[int, ...], grid: Sequence[int]) -> torch.Tensor:
    """Merge windows into a grid, without the padding.

    Args:
        x: (B * windows, N, heads, D).
        size: tokens of a window along each axis.
        grid: tokens along each axis.

    Returns:
        (B, *grid, heads, D).
    """
    if torch.compiler.is_compiling():
        return _merge_any_grid(x, size, grid)
    return _MergeWindows.apply(x, size, tuple(grid))


def count_windows(grid: Sequence[int], size: tuple[int, ...]) -> list[int]:
    """Return the windows along each axis; ONNX rounds quotients of negative numbers up."""
    return [(n + w - 1) // w for n, w in zip(grid, size)]


class _SplitWindows(torch.autograd.Function):
    """Pad, reorder and (in backward) crop in one copy, where torch's own ops need three."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        ctx.size, ctx.grid = size, x.shape[1:-2]
        return _split(x, size)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _merge(grad, ctx.size, ctx.grid), None


class _MergeWindows(torch.autograd.Function):
    """The inverse of ``_SplitWindows``: each is the other's gradient."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, size: tuple[int, ...], grid: tuple[int, ...]) -> torch.Tensor:
        ctx.size = size
        return _merge(x, size, grid)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _split(grad, ctx.size), None, None


def _split(x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Split (B, *grid, heads, D) into (B * windows, N, heads, D), zeros where padded."""
    axes, grid = len(size), x.shape[1:-2]
    counts = count_windows(grid, size)
    # (B, nH, nW, h, w, heads, D)
    out = x.new_empty(x.shape[0], *counts, *size, *x.shape[-2:])
    for axis, (n, w) in enumerate(zip(grid, size)):
        if n % w:
            last = out.select(1 + axis, counts[axis] - 1)
            last.narrow(axes + axis, n % w, w - n % w).zero_()
    for tokens, windows in _pieces(x, out, size):
        windows.copy_(tokens)
    return out.flatten(1 + axes, 2 * axes).flatten(0, axes)


def _merge(x: torch.Tensor, size: tuple[int, ...], grid: Sequence[int]) -> torch.Tensor:
    """Merge (B * windows, N, heads, D) into (B, *grid, heads, D)."""
    counts = count_windows(grid, size)
    x = x.unflatten(1, size).unflatten(0, (-1, *counts))
    out = x.new_empty(x.shape[0], *grid, *x.shape[-2:])
    for tokens, windows in _pieces(out, x, size):
        tokens.copy_(windows)
    return out


def _split_any_grid(x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Do the same as `_split` by padding and reshaping, without a branch on the grid."""
    axes, grid = len(size), x.shape[1:-2]
    # from the last axis to the first; heads and D stay as they are
    counts = count_windows(grid, size)
    padding = [p for n, w, k in zip(grid, size, counts) for p in (k * w - n, 0)]
    x = F.pad(x, [0, 0, 0, 0, *reversed(padding)])
    for axis, w in reversed(list(enumerate(size))):
        x = x.unflatten(1 + axis, (counts[axis], w))
    return x.permute(_windows_first(axes)).flatten(1 + axes, 2 * axes).flatten(0, axes)


def _merge_any_grid(x: torch.Tensor, size: tuple[int, ...], grid: Sequence[int]) -> torch.Tensor:
    """Do the same as `_merge` by reshaping and cropping, without a branch on the grid."""
    axes = len(size)
    x = x.unflatten(1, size).unflatten(0, (-1, *count_windows(grid, size)))
    order = sorted(range(x.ndim), key=_windows_first(axes).__getitem__)  # the inverse permutation
    x = x.permute(order)
    for axis in range(axes):
        x = x.flatten(1 + axis, 2 + axis)
    for axis, n in enumerate(grid):
        x = x.narrow(1 + axis, 0, n)
    # else torch.compile would have one graph for what is cropped and one for what is not
    return x.clone(memory_format=torch.contiguous_format)


def _windows_first(axes: int) -> tuple[int, ...]:
    """Return the permutation (B, nH, h, nW, w, heads, D) -> (B, nH, nW, h, w, heads, D)."""
    return (0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1, 2 * axes + 2)


def _pieces(
    tokens: torch.Tensor, windows: torch.Tensor, size: tuple[int, ...]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pair views of a token map with views of its windows, piece by piece in the same order.

    All complete windows are one piece; the partial windows at each far end of the grid are more.

    Args:
        tokens: (B, *grid, heads, D).
        windows: (B, *counts, *size, heads, D), counts = windows along each axis.
        size: tokens of a window along each axis.

    Yields:
        Two views of equal shape (B, *counts, *size of the piece, heads, D).
    """
    axes = len(size)
    # per axis: (first window, number of windows, tokens in each)
    spans = []
    for n, w in zip(tokens.shape[1:], size):
        complete = [(0, n // w, w)] if n >= w else []
        spans.append(complete + ([(n // w, 1, n % w)] if n % w else []))
    order = _windows_first(axes)
    for span in product(*spans):
        part, window = tokens, windows
        for axis, (first, count, extent) in reversed(list(enumerate(span))):
            part = part.narrow(1 + axis, first * size[axis], count * extent)
            part = part.unflatten(1 + axis, (count, extent))
            window = window.narrow(1 + axis, first, count).narrow(1 + axes + axis, 0, extent)
        yield part.permute(order), window
