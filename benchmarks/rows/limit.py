"""How far our networks are from what the processor can do.

    python benchmarks/compare.py limit backbone-640-step --precision bfloat16 [--threads 2]

The limit of a network is the time of its matrix products at the speed of the fastest large one, by
torch's own call or as a convolution, and of all its other operations at the speed of memory, each
of which reads its inputs and writes its outputs once. It is no strict limit: what stays in a cache
is faster than memory, while small products are slower than large ones.
"""

import argparse
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from measuring import timed
from tabulate import tabulate

from rows import Options, Row, all_rows

SIDE = 2048  # of the large matrices
COPIED = 1 << 28  # bytes
HEADS = ("row", "how", "products, GFLOP", "GFLOP/s", "s", "others, GB", "GB/s", "s")
HEADS += ("limit, s", "measured, s", "measured / limit")


def count(run: Callable[[], Any]) -> tuple[float, float]:
    """Return the floating-point operations of matrix products, and the bytes of all others."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_iter
    from torch.utils.flop_counter import flop_registry

    def tensors(tree: Any) -> list[torch.Tensor]:
        return [x for x in tree_iter(tree) if isinstance(x, torch.Tensor)]

    class Counts(TorchDispatchMode):
        flops = bytes = 0.0

        def __torch_dispatch__(
            self, op: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            kwargs = dict(kwargs or {})
            out = op(*args, **kwargs)
            groups = args[8] if op is torch.ops.aten.convolution.default else 1
            if op is torch.ops.aten.convolution_backward.default:
                groups = args[9]
            if op.overloadpacket in flop_registry and groups == 1:
                self.flops += flop_registry[op.overloadpacket](*args, **kwargs, out_val=out)
            elif not op.is_view and "empty" not in op.name():
                moved = [*tensors((args, kwargs)), *tensors(out)]
                self.bytes += sum(x.numel() * x.element_size() for x in moved)
            return out

    with Counts() as counts:
        run()
    return counts.flops, counts.bytes


def speeds(precision: str) -> tuple[float, float]:
    """Return the operations per second of a large matrix product, and bytes per second of a copy.

    The fastest of each counts: other work on the machine only slows them down.
    """
    import torch

    from mvit_det.kernels.products import multiply

    x, y = (torch.randn(SIDE, SIDE, dtype=getattr(torch, precision)) for _ in range(2))
    source = torch.zeros(COPIED // 4)
    copy = torch.empty_like(source)
    product = min(fastest(lambda: x @ y), fastest(lambda: multiply(x, y, None)))
    return 2 * SIDE**3 / product, 2 * COPIED / fastest(lambda: copy.copy_(source))


def fastest(run: Callable[[], Any]) -> float:
    """Return the seconds of the fastest of ten runs."""
    return min(timed(run, "cpu") for _ in range(10))


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure the rows, print a table, and return measured time over limit by row and precision."""
    known = {
        name: row for name, row in all_rows().items() if isinstance(row, Row) and row.precisions
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="+", choices=known, metavar="ROW")
    parser.add_argument(
        "--precision", nargs="+", default=["float32"], choices=["float32", "bfloat16"]
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N")
    args = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(args.threads)
    table, ratios = [], {}
    for precision in args.precision:
        product_speed, memory_speed = speeds(precision)
        for name in args.rows:
            run = known[name].build("ours", Options(precision, args.threads))
            run()
            flops, moved = count(run)
            times = (flops / product_speed, moved / memory_speed)
            limit, measured = sum(times), statistics.median(timed(run, "cpu") for _ in range(9))
            ratios[f"{name} {precision}"] = measured / limit
            row = [name, precision, flops / 1e9, product_speed / 1e9, times[0]]
            row += [moved / 1e9, memory_speed / 1e9, times[1], limit, measured, measured / limit]
            table.append(row)
    print(tabulate(table, HEADS, tablefmt="github", floatfmt=".3g"))
    return ratios
