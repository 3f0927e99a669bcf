"""Normalisation layers of (N, C, H, W), and their names in configs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from fvcore.nn.distributed import differentiable_all_reduce
from torch import nn

from detectron2.utils import comm


class NaiveSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics in training are shared by all processes.

    ``stats_mode`` "" weights all processes equally, and no batch may be empty; "N" weights them by
    batch size, which may be 0 (a mask head without foreground).

    Raises:
        AssertionError: another ``stats_mode``, or an empty batch with "".
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, *args: Any, stats_mode: str = "", **kwargs: Any):
        super().__init__(*args, **kwargs)
        assert stats_mode in ("", "N"), f"stats_mode must be '' or 'N', got {stats_mode!r}."
        self._stats_mode = stats_mode

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, H, W) by the statistics of all processes."""
        if not self.training or comm.get_world_size() == 1:
            return super().forward(input)
        x = input.float()
        weight = len(x)
        if self._stats_mode == "":
            assert weight > 0, "naiveSyncBN cannot take an empty batch; naiveSyncBN_N can."
            weight = 1
        # Sums, not means: over an empty batch they are 0 and still have gradients, which all
        # processes must exchange together.
        cells = max(x.numel() // x.shape[1], 1)
        moments = torch.cat((x.sum(dim=(0, 2, 3)), x.square().sum(dim=(0, 2, 3)))) / cells
        packed = torch.cat((moments * weight, moments.new_tensor([weight])))
        packed = differentiable_all_reduce(packed)
        total = packed[-1].detach()
        mean, mean_square = (packed[:-1] / total.clamp(min=1)).chunk(2)
        var = mean_square - mean.square()
        with torch.no_grad():
            momentum = self.momentum * total.clamp(max=1)  # 0 if all batches are empty
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(var, momentum)
        gain = self.weight * torch.rsqrt(var + self.eps)
        offset = self.bias - mean * gain
        out = torch.addcmul(offset[:, None, None], x, gain[:, None, None])
        return out.half() if input.dtype == torch.float16 else out


class LayerNorm(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W), at each position."""

    def __init__(self, num_channels: int):
        super().__init__(num_channels, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, H, W)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": nn.BatchNorm2d,
    "GN": partial(nn.GroupNorm, 32),
    "LN": LayerNorm,
    "naiveSyncBN": NaiveSyncBatchNorm,
    "naiveSyncBN_N": partial(NaiveSyncBatchNorm, stats_mode="N"),
}


def get_norm(norm: str | Callable[[int], nn.Module] | None, out_channels: int) -> nn.Module | None:
    """Make a norm by its key in ``NORMS`` or by a function; None for None or "".

    Raises:
        KeyError: an unknown key.
    """
    if norm is None or norm == "":
        return None
    if isinstance(norm, str):
        if norm not in NORMS:
            raise KeyError(f"Norm '{norm}' is unknown: use one of {', '.join(NORMS)}, or ''.")
        norm = NORMS[norm]
    return norm(out_channels)
