"""The fused attention kernels of torch on the queries, keys and values of a detection backbone.

Position makes queries and keys wider than values: 110 to 160 columns against 96 for an image of
1024 x 1024. On a GPU `mvit_det.kernels.chunked_attention.attend` widens the values by zeros, which
every kernel takes; some take them as they are. This measures what that is worth.
"""

import statistics
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from measuring import timed
from torch.nn.attention import SDPBackend, sdpa_kernel

from rows import Options
from rows.networks import backbone_pair, runs

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
}
HEADS = ["kernel", "values", "forward, ms", "with gradients, ms"]

Shapes = list[tuple[torch.Size, ...]]


def rows_of(variant: str, size: int, options: Options) -> list[list[Any]]:
    """Measure each kernel with both widths of values.

    Args:
        variant: of the backbone, as in the names of configs.
        size: height and width of its image.

    Returns:
        rows of `HEADS`: the median time of all attention of one image, "refused" or "out of
            memory".
    """
    shapes = shapes_of(variant, size, options)
    dtype = getattr(torch, options.precision)
    drawn = [[torch.randn(s, device=options.device, dtype=dtype) for s in qkv] for qkv in shapes]
    measured = []
    for kernel, backend in KERNELS.items():
        for widened in (True, False):
            row: list[Any] = [kernel, "widened" if widened else "as they are"]
            for gradients in (False, True):
                run = _run(drawn, backend, widened, gradients)
                try:
                    with warnings.catch_warnings():  # the reasons of a kernel that refuses
                        warnings.simplefilter("ignore")
                        seconds = [timed(run, options.device) for _ in range(13)]
                    row.append(1e3 * statistics.median(seconds[3:]))
                except torch.cuda.OutOfMemoryError:
                    row.append("out of memory")
                except RuntimeError:
                    row.append("refused")
            measured.append(row)
    return measured


def shapes_of(variant: str, size: int, options: Options) -> Shapes:
    """Return the shapes of queries, keys and values of each call of attention for one image."""
    network, x = backbone_pair(variant, size, "ours", options)
    shapes: Shapes = []

    def record(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        shapes.append((q.shape, k.shape, v.shape))
        return q[..., : v.shape[-1]]

    with mock.patch("mvit_det.backbone.attention.attend", record):
        runs(network, x, False, options)()
    return shapes


def _run(
    drawn: list[list[torch.Tensor]], backend: SDPBackend, widened: bool, gradients: bool
) -> Callable[[], None]:
    """Return the function that runs all attention of an image by one kernel."""
    inputs = [[x.detach().requires_grad_(gradients) for x in qkv] for qkv in drawn]

    def run() -> None:
        for q, k, v in inputs:
            values = F.pad(v, (0, q.shape[-1] - v.shape[-1])) if widened else v
            with sdpa_kernel(backend):
                out = F.scaled_dot_product_attention(q, k, values, scale=1.0)
            out = out[..., : v.shape[-1]]
            if gradients:
                torch.autograd.grad(out, (q, k, v), torch.ones_like(out))

    return run
