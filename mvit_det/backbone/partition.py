"""Partitions of a token grid into the groups of tokens that attend to each other.

A partition splits (B, *grid, heads, D) into groups (G, heads, N, D), for attention within each
group, and merges the result back. ``extent`` is the size of a group, which the position embeddings
need. In memory, heads stay after tokens, (G, N, heads, D), so that whole tokens are moved.

Legend: G = groups over the whole batch, N = tokens of a group, D = channels per head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from mvit_det.backbone.plan import Axes, divide
from mvit_det.kernels.cpu import is_exporting
from mvit_det.kernels.windows import count_windows, merge_windows, split_windows


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
        return split_windows(x, self.size).transpose(1, 2)

    def merge(self, x: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
        """Merge (B * windows, heads, N, D) into (B, *grid, heads, D), without the padding."""
        return merge_windows(x.transpose(1, 2), self.size, _sizes(grid))

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
        return [k * w for k, w in zip(count_windows(_sizes(grid), self.size), self.size)]

    def _shifts(self, grid: Sequence[int]) -> list[int]:
        least: Any = torch.sym_min if is_exporting() else min  # no branch may read a size
        counts = count_windows(_sizes(grid), self.size)
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
