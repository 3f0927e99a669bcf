"""The largest batch and input that GPUs of 16 to 80 GB train, by counted bytes.

    python benchmarks/compare.py capacity [--precision fp32]
    python benchmarks/compare.py capacity --check

One training step (forward, backward, AdamW with its state) runs on tensors without data, in the
form that it has on a GPU: bfloat16 autocast, attention that stores no probabilities. The count is
the largest sum of the storages that are alive at once, each rounded up to 512 bytes as CUDA's
allocator does; a copy of the gradients is added, which several GPUs need to exchange them. A tenth
of the memory stays free, for CUDA itself, workspaces of libraries and fragmentation; 1 GB is 10^9
bytes. Memory is counted at two sizes; a straight line through them gives the others.

A detector's heads get the recipe's number of boxes, a quarter of them from each pyramid level.

``--check`` compares counts with what the same step takes on the CPU, with data.
"""

import argparse
import math
import resource
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock
from weakref import finalize

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from tabulate import tabulate
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

import mvit_det
from mvit_det.benchmark import subjects, timing
from mvit_det.benchmark.counts import count_parameters
from mvit_det.precision import PRECISIONS

GPUS = (16, 24, 40, 80)  # 10^9 bytes
USABLE = 0.9  # of them
GRANULE = 512  # bytes
MODES: tuple[bool | str, ...] = (False, "branches")  # of use_act_checkpoint
DETECTOR, CLASSIFIER = "mask_rcnn_mvitv2_{}_3x", "imagenet/mvitv2_{}_in1k"
SIDES = (1024, 4096)  # counted, of one square image
# title -> config, shape of a sample, the two batches that are counted
ROWS = {
    **{f"Mask R-CNN {v}, 1024": (DETECTOR.format(v.lower()), (1024,) * 2, (2, 8)) for v in "TSBL"},
    **{
        f"classifier {v}, 224": (CLASSIFIER.format(v.lower()), (224,) * 2, (32, 128))
        for v in "TSBL"
    },
    "clips S 16x4, 224": ("kinetics/mvitv2_s_16x4_k400", (16, 224, 224), (2, 8)),
    "clips B 32x3, 224": ("kinetics/mvitv2_b_32x3_k400", (32, 224, 224), (2, 8)),
    "clips L 40x3, 224": ("kinetics/mvitv2_l_40x3_in21k_k400", (40, 224, 224), (2, 8)),
}
# config, recomputation, precision, shape: measured by --check
CHECKS: tuple[tuple[str, bool | str, str, tuple[int, ...]], ...] = (
    ("imagenet/mvitv2_t_in1k", False, "bf16", (2, 3, 224, 224)),
    ("mask_rcnn_mvitv2_t_3x", "branches", "fp32", (1, 3, 256, 256)),
)
# functions that CUDA's autocast computes in lower precision
LOWER = ("linear", "conv2d", "conv3d", "conv_transpose2d", "scaled_dot_product_attention")
# what differs on a GPU from the CPU and from tensors without data
ON_GPU = {
    "mvit_det.kernels.chunked_attention.is_eager_cpu": lambda x: False,
    "mvit_det.kernels.products.is_eager_cpu": lambda x: False,
    "mvit_det.backbone.attention.spare_columns": lambda width, device: -width % 8,
}


@contextmanager
def as_on_gpu(dtype: torch.dtype) -> Iterator[dict[int, torch.Tensor]]:
    """Take the code paths of a GPU, with autocast to ``dtype``, which tensors without data lack.

    Yields:
        Converted weights, which autocast keeps until the backward pass.
    """
    kept: dict[int, torch.Tensor] = {}

    def convert(target: torch.dtype, x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or x.dtype == target or not x.is_floating_point():
            return x
        if id(x) in kept:
            return kept[id(x)]
        converted = x.to(target)
        if isinstance(x, nn.Parameter):
            kept[id(x)] = converted
        return converted

    def wrap(function: Callable, target: torch.dtype) -> Callable:
        return lambda *args, **kwargs: function(*map(partial(convert, target), args), **kwargs)

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
        if not q.is_meta:
            return plain(q, k, v, scale=scale)
        fused = torch.ops.aten._scaled_dot_product_efficient_attention
        return fused(q, k, v, None, True, scale=scale)[0]

    def normalise(attention: Any, tokens: torch.Tensor, name: str) -> torch.Tensor:
        return getattr(attention, f"norm_{name}")(tokens).to(dtype)

    plain = F.scaled_dot_product_attention
    changed = {**ON_GPU, "mvit_det.backbone.attention.MultiScaleAttention.normalise": normalise}
    changed["torch.bmm"] = wrap(torch.bmm, dtype)
    changed["torch.nn.functional.layer_norm"] = wrap(F.layer_norm, torch.float32)
    for name in LOWER:
        function = attend if name == "scaled_dot_product_attention" else getattr(F, name)
        changed[f"torch.nn.functional.{name}"] = wrap(function, dtype)
    with ExitStack() as stack:
        for name, function in changed.items():
            stack.enter_context(mock.patch(name, function))
        yield kept


class LiveBytes(TorchDispatchMode):
    """Sums the storages of tensors that were made within it and are alive.

    Attributes:
        live, peak: bytes now, and their largest value.
    """

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor):
                self.add(x.untyped_storage())
        return result

    def add(self, storage: torch.UntypedStorage) -> None:
        """Count a storage until it is freed."""
        if id(storage) not in self.known:
            size = -(-storage.nbytes() // GRANULE) * GRANULE
            self.known.add(id(storage))
            finalize(storage, self.drop, id(storage), size)
            self.live += size
            self.peak = max(self.peak, self.live)

    def drop(self, key: int, size: int) -> None:
        """Forget a storage."""
        self.known.remove(key)
        self.live -= size


def detector_outputs(model: Any, images: torch.Tensor) -> list[torch.Tensor]:
    """Compute the outputs of all heads on a fixed number of boxes, as many from each level.

    Args:
        model: Mask R-CNN.
        images: (B, 3, H, W), normalised.
    """
    features, heads = model.backbone(images), model.roi_heads
    generator = model.proposal_generator
    proposals = generator.rpn_head([features[name] for name in generator.in_features])
    count = len(images) * heads.batch_size_per_image

    def crop(pooler: Any, names: Sequence[str], boxes: int) -> torch.Tensor:
        rois = images.new_zeros(boxes // len(names), 5)
        levels = zip(pooler.level_poolers, names)
        crops = [pool(features[name].float(), rois) for pool, name in levels]  # as under autocast
        return torch.cat([each.to(features[names[0]].dtype) for each in crops])

    boxes = heads.box_predictor(
        heads.box_head(crop(heads.box_pooler, heads.box_in_features, count))
    )
    count = int(count * heads.positive_fraction)
    crops = crop(heads.mask_pooler, heads.mask_in_features, count)
    masks = nn.Sequential.forward(heads.mask_head, crops)  # without the loss
    return tree_leaves([proposals, boxes, masks])


def step(model: Any, x: torch.Tensor, dtype: torch.dtype) -> None:
    """Run forward and backward on images or clips, normalised."""
    with as_on_gpu(dtype) as kept:
        if hasattr(model, "roi_heads"):
            outputs = detector_outputs(model, x)
        else:
            labels = x.new_zeros(len(x), model.num_classes)
            outputs = list(model({"inputs": x, "labels": labels}).values())
        kept.clear()
        torch.autograd.backward(outputs, [torch.ones_like(each) for each in outputs])


def build(cfg: Any, recompute: bool | str, device: str) -> nn.Module:
    """Build the model of a config, or of its name, for training."""
    cfg = mvit_det.get_config(cfg) if isinstance(cfg, str) else cfg
    OmegaConf.update(cfg, f"{subjects.backbone_key(cfg)}.use_act_checkpoint", recompute)
    with torch.device(device):
        return subjects.build_module(cfg, "model", fused=True).train()


def count(
    cfg: Any, recompute: bool | str, precision: str, shape: Sequence[int], device: str = "meta"
) -> tuple[int, int, int]:
    """Count the peaks of bytes of forward and backward, and of the optimizer's step; the weights'.

    Args:
        cfg: config or its name.
        recompute: value of `use_act_checkpoint`.
        precision: key of `PRECISIONS`.
        shape: of the input, (B, 3, [T,] H, W).
        device: "meta" for tensors without data, "cpu" for real ones.
    """
    with LiveBytes() as memory:
        model = build(cfg, recompute, device)
        optimizer = start(model)
        update, memory.peak = memory.peak, 0
        step(model, torch.ones(*shape, device=device), PRECISIONS[precision])
        optimizer.zero_grad()
    return memory.peak, update, 4 * count_parameters(model)


def start(model: nn.Module) -> torch.optim.Optimizer:
    """Make AdamW, and its state by a step."""
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)  # the default on GPUs
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def largest(sizes: Sequence[int], peaks: Sequence[tuple[int, int, int]], budget: float) -> float:
    """Return the largest size within a budget of bytes; 0 if there is none.

    Args:
        sizes: the two that were counted.
        peaks: of each, from `count`.
        budget: bytes.
    """
    (first, update, weights), (second, *_) = peaks
    budget -= weights  # a copy of the gradients
    slope = (second - first) / (sizes[1] - sizes[0])
    return max(0.0, sizes[0] + (budget - first) / slope) if update <= budget else 0.0


def measure(config: str, recompute: bool | str, precision: str, shape: Sequence[int]) -> list[int]:
    """Measure a step on the CPU, in a new process.

    Returns:
        Bytes of weights, optimizer and input; the peak of tensors besides, from torch's profiler;
        and the growth of the process's resident memory during the first step.
    """
    model, x = build(config, recompute, "cpu"), torch.ones(*shape)
    optimizer = start(model)
    run = partial(step, model, x, PRECISIONS[precision])
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    before = pages * resource.getpagesize()
    run()
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    optimizer.zero_grad()
    fixed = 12 * count_parameters(model) + x.nbytes
    return [fixed, timing.peak_memory(run, torch.device("cpu")), growth]


def check(pool: ProcessPoolExecutor) -> list[list]:
    """Print counted and measured bytes of a step of `CHECKS`, and return the rows."""
    rows = []
    for point in CHECKS:
        fixed, tensors, growth = pool.submit(measure, *point).result()
        counted = count(*point)[0] - fixed
        numbers = [each / 1e6 for each in (counted, tensors, growth)]
        rows.append([*map(str, point), *numbers, counted / tensors])
    names = ("config", "recomputed", "precision", "input", "counted", "tensors", "growth", "ratio")
    formats = ("",) * 4 + (",.0f",) * 3 + (".3f",)
    print(tabulate(rows, names, tablefmt="github", floatfmt=formats))
    return rows


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Count, print a table of batches and one of squares, and return what was counted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--check", action="store_true", help="compare counts with the CPU's memory")
    args = parser.parse_args(arguments)
    if args.check:
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            return {"check": check(pool)}
    peaks: dict[tuple[str, bool | str], list[tuple[int, int, int]]] = {}
    for row, mode in tqdm(list(product(args.rows, MODES)), desc="counts"):
        config, size, counted = ROWS[row]
        shapes = [(batch, 3, *size) for batch in counted]
        if "rcnn" in config:
            shapes += [(1, 3, side, side) for side in SIDES]
        peaks[row, mode] = [count(config, mode, args.precision, shape) for shape in shapes]
    batches = {key: partial(largest, ROWS[key[0]][2], each[:2]) for key, each in peaks.items()}
    pixels = [side**2 for side in SIDES]
    squares = {key: partial(largest, pixels, each[2:]) for key, each in peaks.items() if each[2:]}
    print(table(batches, lambda batch: int(batch)))
    print("\n" + table(squares, lambda area: int(math.sqrt(area)) // 32 * 32))
    return {f"{row}, {mode}": value for (row, mode), value in peaks.items()}


def table(
    limits: dict[tuple[str, bool | str], partial[float]], shown: Callable[[float], int]
) -> str:
    """Format the largest sizes as a Markdown table: without / with recomputed branches."""
    rows = []
    for row in dict.fromkeys(row for row, _ in limits):
        cells = [
            " / ".join(str(shown(limits[row, mode](USABLE * gpu * 1e9)) or "-") for mode in MODES)
            for gpu in GPUS
        ]
        rows.append([row, *cells])
    return tabulate(rows, ["", *(f"{gpu} GB" for gpu in GPUS)], tablefmt="github")
