"""Pool tokens over their grid: the operators P of pooling attention (paper, Eq. 1)."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from mvit_det.backbone.layers import CONVOLUTIONS, Convolution, channels_last
from mvit_det.kernels.cpu import is_cpu_inference, is_exporting


def build_pool(head_dim: int, kernel: Sequence[int], stride: Sequence[int]) -> Convolution:
    """Build the depthwise convolution that pools q, k or v (Eq. 1); ``pool_heads`` applies it.

    Args:
        head_dim: channels D of one head; all heads share the filter.
        kernel: size along each axis, in tokens; odd in all published models.
        stride: pooling stride along each axis, in tokens.

    Returns:
        A convolution with weight (D, 1, *kernel) and no bias.
    """
    return CONVOLUTIONS[len(kernel)](
        head_dim,
        head_dim,
        tuple(kernel),
        stride=tuple(stride),
        padding=tuple(k // 2 for k in kernel),
        groups=head_dim,
        bias=False,
    )


def pool_heads(x: torch.Tensor, pool: Convolution | nn.Identity, num_heads: int) -> torch.Tensor:
    """Pool tokens with a depthwise convolution whose filter is shared by all heads.

    Args:
        x: (B, *grid, C) with C = num_heads * head_dim, head by head.
        pool: from ``build_pool``, weight (head_dim, 1, *kernel); ``nn.Identity`` leaves the grid.
        num_heads: number of heads in C.

    Returns:
        (B, *pooled grid, num_heads, head_dim), contiguous; a grid of n gives ceil(n / stride).
    """
    if isinstance(pool, nn.Identity):
        return x.unflatten(-1, (num_heads, -1))
    strided, flat = max(pool.stride) > 1, x.shape[-3] < 3
    lowers = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if lowers and torch.is_grad_enabled() and (strided or flat):
        # torch's gradients of a depthwise convolution in bfloat16 take up to 60 times as long as in
        # float32 if it is strided, and 2 to 12 times on grids of 1 or 2 rows; the weight's is
        # uninitialised memory if the output of a strided one is one token wide.
        with torch.autocast("cpu", enabled=False):
            return _pool_heads(x.float(), pool, num_heads)
    return _pool_heads(x, pool, num_heads)


def _pool_heads(x: torch.Tensor, pool: Convolution, num_heads: int) -> torch.Tensor:
    # All heads at once: heads stay in the channel axis and tokens stay channels-last in memory, so
    # nothing is permuted. Only the small weight is repeated, once per head.
    weight = pool.weight.repeat(num_heads, *(1,) * (pool.weight.ndim - 1))
    keeps_length = pool.stride[0] == 1 and pool.kernel_size[0] % 2
    if len(pool.stride) == 3 and keeps_length and not (is_exporting() or is_cpu_inference(x)):
        # (in inference on a CPU one 3-D convolution is twice as fast as three 2-D ones)
        pooled = _convolve_frames(x, weight, pool.stride[1:])
    else:
        convolve: Callable[..., torch.Tensor] = F.conv2d if len(pool.stride) == 2 else F.conv3d
        channels_first = x.movedim(-1, 1)
        pooled = channels_last(
            convolve(channels_first, weight, None, pool.stride, pool.padding, groups=x.shape[-1])
        )
    # (B, *grid, C) -> (B, *grid, heads, head_dim)
    return pooled.contiguous().unflatten(-1, (num_heads, -1))


def _convolve_frames(x: torch.Tensor, weight: torch.Tensor, stride: Sequence[int]) -> torch.Tensor:
    """Convolve depthwise over (T, H, W) by 2-D convolutions of all frames, summed over time shifts.

    Only 2-D depthwise convolutions have a fast backward pass (pytorch/pytorch#37406): on a CPU a
    3-D one takes 2 to 10 times as long as the 2-D ones that replace it. All poolings of a training
    step of S 16x4 take 0.63 s this way, summation included, instead of 0.93 s.

    Args:
        x: (B, T, H, W, C), channels last in memory.
        weight: (C, 1, kT, kH, kW), with kT odd.
        stride: of H and W; along T it is 1.

    Returns:
        (B, T, pooled H, pooled W, C).
    """
    clips, length = x.shape[:2]
    padding = [k // 2 for k in weight.shape[3:]]
    frames = x.flatten(0, 1).movedim(-1, 1)

    def convolve(tap: int) -> torch.Tensor:
        y = F.conv2d(frames, weight[:, :, tap], None, stride, padding, groups=x.shape[-1])
        return y.movedim(1, -1).unflatten(0, (clips, length))

    middle = weight.shape[2] // 2
    pooled = convolve(middle)
    for shift in range(1, min(middle + 1, length)):
        pooled[:, shift:] += convolve(middle - shift)[:, :-shift]
        pooled[:, :-shift] += convolve(middle + shift)[:, shift:]
    return pooled


def max_pool(x: torch.Tensor, stride: Sequence[int]) -> torch.Tensor:
    """Pool the skip connection where the queries are pooled, as in MViTv1.

    The kernel is one larger than the stride, or 1 along an axis that is not pooled. Time is never
    pooled, so frames are treated as images of a larger batch.

    Args:
        x: (B, *grid, C).
        stride: pooling stride of the queries along each axis, in tokens.

    Returns:
        (B, *pooled grid, C); a grid of n gives ceil(n / stride).
    """
    kernel = tuple(s + 1 if s > 1 else 1 for s in stride[-2:])
    padding = tuple(k // 2 for k in kernel)
    frames = x.flatten(0, -4).movedim(-1, 1)
    pooled = F.max_pool2d(frames, kernel, tuple(stride[-2:]), padding)
    return channels_last(pooled).unflatten(0, x.shape[:-3])
