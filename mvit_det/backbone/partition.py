"""Partitions of a token grid into the groups of tokens that attend to each other.

A partition splits (B, *grid, heads, D) into groups (G, heads, N, D), for attention within each
group, and merges the result back. ``extent`` is the size of a group, which the position embeddings
need. In memory, heads stay after tokens, (G, N, heads, D), so that whole tokens are moved.

Legend: G = groups over the whole batch, N = tokens of a group, D = channels per head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F

from mvit_det.backbone.plan import Axes, divide
from mvit_det.kernels.cpu import is_exporting


class Full:
    """All tokens of a sample in one group: full attention."""

    def extent(self, grid: Sequence[int]) -> tuple[int, ...]:
        """Return the number of tokens of a group along each axis: the whole grid."""
        return tuple(grid)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """Split (B, *grid, heads, D) into (B, heads, N, D), a view."""
        return x.flatten(1, -3).transpose(1, 2)

    def merge(self, x: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
        """Merge (B, heads, N, D) into (B, *grid, heads, D), a view."""
        return x.transpose(1, 2).unflatten(1, tuple(grid))

    def regions(self, grid: Sequence[int], like: torch.Tensor) -> list[torch.Tensor]:
        """Return what divides groups further: nothing."""
        return []


@dataclass(frozen=True)
class Windows:
    """Non-overlapping windows (paper, section 4.2); the grid is padded at its far ends to fit them.

    Padded queries are cropped afterwards. Padded keys are NOT masked: they are zero vectors, so
    their logit is their relative position alone and their value is zero. The published detectors
    were trained that way.

    Attributes:
        size: tokens of a window along each axis.
    """

    size: tuple[int, ...]

    def extent(self, grid: Sequence[int]) -> tuple[int, ...]:
        """Return the number of tokens of a group along each axis: the window size."""
        return self.size

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """Split (B, *grid, heads, D) into (B * windows, heads, N, D)."""
        # compiled or exported: one graph for all sizes
        any_grid = torch.compiler.is_compiling()
        split = _split_windows_of_any_grid if any_grid else _SplitWindows.apply
        return split(x, self.size).transpose(1, 2)

    def merge(self, x: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
        """Merge (B * windows, heads, N, D) into (B, *grid, heads, D), without the padding."""
        if torch.compiler.is_compiling():
            return _merge_windows_of_any_grid(x.transpose(1, 2), self.size, grid)
        return _MergeWindows.apply(x.transpose(1, 2), self.size, _sizes(grid))

    def regions(self, grid: Sequence[int], like: torch.Tensor) -> list[torch.Tensor]:
        """Return what divides groups further: nothing."""
        return []


class ShiftedWindows(Windows):
    """Windows that are shifted cyclically by half their size (Liu et al., Swin, ICCV 2021).

    The last window along an axis then holds tokens of the far and of the near end of the grid,
    which are not neighbours: its ``regions``, between which attention is masked. An axis that fits
    into one window is not shifted, as in Swin. Padding is that of ``Windows``. Pooled queries and
    keys are each shifted in their own tokens, by half a window rounded down.
    """

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """Split (B, *grid, heads, D) into (B * windows, heads, N, D)."""
        grid = x.shape[1:-2]
        padding = [p for n, whole in zip(grid, self._padded(grid)) for p in (whole - n, 0)]
        x = F.pad(x, [0, 0, 0, 0, *reversed(padding)])
        return super().split(_rotate(x, self._shifts(grid)))

    def merge(self, x: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
        """Merge (B * windows, heads, N, D) into (B, *grid, heads, D), without the padding."""
        whole = self._padded(grid)
        x = super().merge(x, whole)
        x = _rotate(x, [n - shift for n, shift in zip(whole, self._shifts(grid))])
        for axis, n in enumerate(grid):
            x = x.narrow(1 + axis, 0, n)
        return x

    def regions(self, grid: Sequence[int], like: torch.Tensor) -> list[torch.Tensor]:
        """Tell the two regions of every window apart, along each axis.

        Args:
            grid: tokens along each axis.
            like: tensor whose dtype and device the result has.

        Returns:
            Per axis (windows, 1, N, 1): 1 for tokens that the shift brought from the near end.
        """
        padded, maps = self._padded(grid), []
        for axis, (whole, shift) in enumerate(zip(padded, self._shifts(grid))):
            moved = torch.arange(whole, device=like.device) >= whole - shift
            shape = [1] * axis + [-1] + [1] * (len(padded) - axis + 1)
            maps.append(moved.to(like.dtype).view(shape).expand(*padded, 1, 1)[None])
        return [super(ShiftedWindows, self).split(region) for region in maps]

    def _padded(self, grid: Sequence[int]) -> list[int]:
        return [k * w for k, w in zip(_count_windows(_sizes(grid), self.size), self.size)]

    def _shifts(self, grid: Sequence[int]) -> list[int]:
        least: Any = torch.sym_min if is_exporting() else min  # no branch may read a size
        counts = _count_windows(_sizes(grid), self.size)
        return [least(k - 1, 1) * (w // 2) for k, w in zip(counts, self.size)]


def build_partition(window: Axes | None, stride: Axes, shifted: bool) -> Full | Windows:
    """Build the partition of queries, or of keys and values.

    Args:
        window: in tokens of the block's input; None for full attention.
        stride: pooling stride of the tokens that are divided.
        shifted: whether the windows are shifted.
    """
    if window is None:
        return Full()
    return (ShiftedWindows if shifted else Windows)(divide(window, stride))


def _sizes(grid: Sequence[int]) -> tuple[int, ...]:
    """Return the grid as numbers: the tracer, which counts FLOPs, represents sizes as tensors."""
    return tuple(map(int, grid) if torch.jit.is_tracing() else grid)


def _rotate(x: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Move the first tokens of (B, *grid, heads, D) along each axis of the grid to its end."""
    if not is_exporting():
        return x.roll([-n for n in counts], list(range(1, 1 + len(counts))))
    for axis, count in enumerate(counts, start=1):  # ONNX has no roll by a symbol
        places = torch.arange(x.shape[axis], device=x.device) + count
        x = x.index_select(axis, places % torch.scalar_tensor(x.shape[axis], dtype=torch.int64))
    return x


class _SplitWindows(torch.autograd.Function):
    """Pad, reorder and (in backward) crop in one copy, where torch's own ops need three."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        ctx.size, ctx.grid = size, x.shape[1:-2]
        return _split_windows(x, size)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _merge_windows(grad, ctx.size, ctx.grid), None


class _MergeWindows(torch.autograd.Function):
    """The inverse of ``_SplitWindows``: each is the other's gradient."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, size: tuple[int, ...], grid: tuple[int, ...]) -> torch.Tensor:
        ctx.size = size
        return _merge_windows(x, size, grid)

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _split_windows(grad, ctx.size), None, None


def _split_windows(x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Split (B, *grid, heads, D) into (B * windows, N, heads, D), zeros where padded."""
    axes, grid = len(size), x.shape[1:-2]
    counts = [-(-n // w) for n, w in zip(grid, size)]
    # (B, nH, nW, h, w, heads, D)
    out = x.new_empty(x.shape[0], *counts, *size, *x.shape[-2:])
    for axis, (n, w) in enumerate(zip(grid, size)):
        if n % w:
            last = out.select(1 + axis, counts[axis] - 1)
            last.narrow(axes + axis, n % w, w - n % w).zero_()
    for tokens, windows in _pieces(x, out, size):
        windows.copy_(tokens)
    return out.flatten(1 + axes, 2 * axes).flatten(0, axes)


def _merge_windows(x: torch.Tensor, size: tuple[int, ...], grid: Sequence[int]) -> torch.Tensor:
    """Merge (B * windows, N, heads, D) into (B, *grid, heads, D)."""
    counts = [-(-n // w) for n, w in zip(grid, size)]
    x = x.unflatten(1, size).unflatten(0, (-1, *counts))
    out = x.new_empty(x.shape[0], *grid, *x.shape[-2:])
    for tokens, windows in _pieces(out, x, size):
        tokens.copy_(windows)
    return out


def _split_windows_of_any_grid(x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Do the same as `_split_windows` by padding and reshaping, without a branch on the grid."""
    axes, grid = len(size), x.shape[1:-2]
    # from the last axis to the first; heads and D stay as they are
    counts = _count_windows(grid, size)
    padding = [p for n, w, k in zip(grid, size, counts) for p in (k * w - n, 0)]
    x = F.pad(x, [0, 0, 0, 0, *reversed(padding)])
    for axis, w in reversed(list(enumerate(size))):
        x = x.unflatten(1 + axis, (counts[axis], w))
    return x.permute(_windows_first(axes)).flatten(1 + axes, 2 * axes).flatten(0, axes)


def _merge_windows_of_any_grid(
    x: torch.Tensor, size: tuple[int, ...], grid: Sequence[int]
) -> torch.Tensor:
    """Do the same as `_merge_windows` by reshaping and cropping, without a branch on the grid."""
    axes = len(size)
    x = x.unflatten(1, size).unflatten(0, (-1, *_count_windows(grid, size)))
    order = sorted(range(x.ndim), key=_windows_first(axes).__getitem__)  # the inverse permutation
    x = x.permute(order)
    for axis in range(axes):
        x = x.flatten(1 + axis, 2 + axis)
    for axis, n in enumerate(grid):
        x = x.narrow(1 + axis, 0, n)
    # else torch.compile would have one graph for what is cropped and one for what is not
    return x.clone(memory_format=torch.contiguous_format)


def _count_windows(grid: Sequence[int], size: tuple[int, ...]) -> list[int]:
    """Return the windows along each axis; ONNX rounds quotients of negative numbers up."""
    return [(n + w - 1) // w for n, w in zip(grid, size)]


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
