"""Normalisation over (N, C, H, W), and how configs name it."""

from functools import partial
from typing import Callable

import torch
from fvcore.nn.distributed import differentiable_all_reduce
from torch import nn
from torch.nn import functional as F

from detectron2.utils import comm


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with fixed statistics and fixed affine parameters, all of them buffers.

    A fresh one is the identity. Its variance starts at ``1 - eps`` for that reason.
    """

    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        start = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - eps}
        for name, value in start.items():
            self.register_buffer(name, torch.full((num_features,), value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )

    def extra_repr(self) -> str:
        return f"num_features={self.num_features}, eps={self.eps}"


class NaiveSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics in training are shared by all processes.

    With one process, and in evaluation, it is ``BatchNorm2d``.

    Args:
        stats_mode: ``""`` averages the mean and the mean square of all processes, with equal
            weights; none may have an empty batch. ``"N"`` weights them by the batch size of each
            process, which may be 0 (a mask head without foreground).
    """

    def __init__(self, *args, stats_mode: str = "", **kwargs):
        super().__init__(*args, **kwargs)
        assert stats_mode in ("", "N"), f"stats_mode must be '' or 'N', got {stats_mode!r}."
        self._stats_mode = stats_mode

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not self.training or comm.get_world_size() == 1:
            return super().forward(input)
        x = input.float()
        weight = len(x)
        if self._stats_mode == "":
            assert weight > 0, "naiveSyncBN cannot take an empty batch; naiveSyncBN_N can."
            weight = 1
        # Sums, not means: over an empty batch they are 0, and still pass gradients on, which all
        # processes must do together.
        cells = max(x.numel() // x.shape[1], 1)
        moments = torch.stack((x.sum(dim=(0, 2, 3)), x.square().sum(dim=(0, 2, 3)))) / cells
        packed = torch.cat((moments.flatten() * weight, moments.new_tensor([float(weight)])))
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


class LayerNorm(nn.Module):
    """Layer norm over the channels of (N, C, H, W), each position by itself."""

    def __init__(self, normalized_shape: int, eps: float = 1e-6):
        super().__init__()
        self.normalized_shape = (normalized_shape,)
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # (N, C, H, W) -> (N, H, W, C) and back; in full precision under autocast too
        last = x.movedim(1, -1).to(self.weight.dtype)
        last = F.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps)
        return last.movedim(-1, 1)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "nnSyncBN": nn.SyncBatchNorm,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": partial(nn.GroupNorm, 32),
    "LN": LayerNorm,
    "naiveSyncBN": NaiveSyncBatchNorm,
    "naiveSyncBN_N": partial(NaiveSyncBatchNorm, stats_mode="N"),
}


def get_norm(norm: str | Callable[[int], nn.Module] | None, out_channels: int) -> nn.Module | None:
    """Make the norm that a config names.

    Args:
        norm: a key of ``NORMS``; or a function of the channel count; ``""`` or None for no norm.

    Raises:
        KeyError: for a name that is not known.
    """
    if norm is None or norm == "":
        return None
    if isinstance(norm, str):
        if norm not in NORMS:
            raise KeyError(f"Norm '{norm}' is not known: use one of {', '.join(NORMS)}, or ''.")
        norm = NORMS[norm]
    return norm(out_channels)
