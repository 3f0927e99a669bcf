"""The largest batch and input that GPUs of 16 to 80 GB train, by counted bytes.

    python benchmarks/compare.py capacity [--precision fp32] [--check]

One training step (forward, backward, AdamW with its state) runs on tensors without data, in the
form that it has on a GPU: bfloat16 autocast, attention that stores no probabilities. The count is
the largest sum of the storages that are alive at once, each rounded up to 512 bytes as CUDA's
allocator does; copies of the weights for their moving average and for the gradients that GPUs
exchange are added. A tenth of the memory stays free, for CUDA itself, the libraries' workspaces and
fragmentation; 1 GB is 10^9 bytes. Between counted sizes memory is taken from a straight line, which
is never below what is needed since memory grows ever faster.

A detector's heads get the recipe's number of boxes, a quarter of them from each pyramid level.
"""

import argparse
import resource
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock
from weakref import finalize

import numpy as np
import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

import mvit_det
from mvit_det.backbone import pooling
from mvit_det.benchmark import subjects
from mvit_det.precision import PRECISIONS, autocast

GPUS = (16, 24, 40, 80)  # 10^9 bytes
FREE = 0.1  # of them
GRANULE = 512  # bytes
BATCHES, SIDES = (1, 8, 64), (1024, 2048, 4096, 8192)  # that are counted
MODES = (False, "branches")  # of use_act_checkpoint
DETECTORS = {f"Mask R-CNN {v}": f"mask_rcnn_mvitv2_{v.lower()}_3x" for v in "TSBL"}
CLASSIFIERS = {f"classifier {v}": f"imagenet/mvitv2_{v.lower()}_in1k" for v in "TSBL"}
CLIPS = {
    "S 16x4": "kinetics/mvitv2_s_16x4_k400",
    "B 32x3": "kinetics/mvitv2_b_32x3_k400",
    "L 40x3": "kinetics/mvitv2_l_40x3_in21k_k400",
}
# measured by --check: config, precision, shape
CHECKS = (
    ("mask_rcnn_mvitv2_t_3x", "fp32", (1, 3, 384, 384)),
    ("imagenet/mvitv2_t_in1k", "bf16", (8, 3, 224, 224)),
)
_layer_norm = F.layer_norm
# what differs on a GPU from the CPU, where tensors without data live
ON_GPU = {
    "mvit_det.backbone.chunked_attention.is_eager_cpu": lambda x: False,
    "mvit_det.backbone.products.is_eager_cpu": lambda x: False,
    "mvit_det.backbone.attention.pool_heads": pooling._pool_heads,
    "mvit_det.backbone.attention.spare_columns": lambda width, device: -width % 8,
    "torch.nn.functional.layer_norm": lambda x, *rest: _layer_norm(x.float(), *rest),
}


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


@contextmanager
def as_on_gpu() -> Iterator[None]:
    """Take the code paths of a GPU."""
    with ExitStack() as stack:
        for name, function in ON_GPU.items():
            stack.enter_context(mock.patch(name, function))
        yield


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
        return torch.cat([pool(features[name], rois) for pool, name in levels])

    boxes = heads.box_predictor(heads.box_head(crop(heads.box_pooler, heads.box_in_features, count)))
    count = int(count * heads.positive_fraction)
    crops = crop(heads.mask_pooler, heads.mask_in_features, count)
    masks = nn.Sequential.forward(heads.mask_head, crops)  # without the loss
    return tree_leaves([proposals, boxes, masks])


def step(model: Any, optimizer: torch.optim.Optimizer, x: torch.Tensor, dtype: torch.dtype) -> None:
    """Run one training step on images or clips, normalised."""
    with autocast(dtype, "cpu"):
        if hasattr(model, "roi_heads"):
            outputs = detector_outputs(model, x)
        else:
            labels = x.new_zeros(len(x), model.num_classes)
            outputs = list(model({"inputs": x, "labels": labels}).values())
    torch.autograd.backward(outputs, [torch.ones_like(each) for each in outputs])
    del outputs
    optimizer.step()
    optimizer.zero_grad()


def build(cfg: Any, recompute: bool | str, device: str) -> nn.Module:
    """Build the model of a config for training."""
    cfg = mvit_det.get_config(cfg) if isinstance(cfg, str) else cfg
    subjects.OmegaConf.update(
        cfg, f"{subjects.backbone_key(cfg)}.use_act_checkpoint", recompute
    )
    with torch.device(device):
        return subjects.build_module(cfg, "model", fused=True).train()


def start(model: nn.Module, foreach: bool) -> torch.optim.Optimizer:
    """Make AdamW with the state that it has from the first step on."""
    optimizer = torch.optim.AdamW(model.parameters(), foreach=foreach)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def count(
    cfg: Any, recompute: bool | str, precision: str, shape: Sequence[int], gpu: bool = True
) -> int:
    """Count the peak of bytes of a training step: weights, optimizer, inputs and all else.

    Args:
        cfg: config or its name.
        recompute: value of `use_act_checkpoint`.
        precision: key of `PRECISIONS`.
        shape: of the input, (B, 3, [T,] H, W).
        gpu: count the form of a GPU, not that of this CPU.
    """
    model = build(cfg, recompute, "meta")
    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as memory:
        model.to_empty(device="cpu")
        optimizer = start(model, foreach=gpu)
        memory.peak = 0
        with as_on_gpu() if gpu else nullcontext():
            step(model, optimizer, torch.empty(*shape), PRECISIONS[precision])
    return memory.peak
