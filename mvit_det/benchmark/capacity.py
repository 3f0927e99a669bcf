"""Find the largest batch and input that a training fits into a GPU's memory, from counted bytes."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.config import instantiate
from detectron2.utils.events import EventStorage
from omegaconf import DictConfig
from torch import nn

from mvit_det.benchmark import subjects
from mvit_det.benchmark.timing import peak_memory
from mvit_det.tasks import task_of

CONTEXT = 1.0e9  # bytes of a GPU that its driver and libraries take
MARGIN = 0.1  # share of the rest that is left free, for gaps between tensors
MULTIPLE = 32  # of image sides
OBJECTS = 16  # times the objects of random inputs


def count_bytes(
    cfg: DictConfig, batch: int, size: Sequence[int] | None, device: torch.device
) -> dict[str, Any]:
    """Count the bytes of a training, by one step with random weights and inputs.

    Args:
        cfg: config of the training; its `optimizer`, `train.amp` and `train.ema` count.
        batch: samples of that step.
        size: height and width in pixels; None for the model's nominal size.
        device: where the step runs; a CPU gives about the bytes of a GPU.

    Returns:
        ``input``: the shape; ``states``: bytes of weights, gradients, optimizer and moving average;
        ``activations``: bytes of one sample, at the peak of the step, without the former.
    """
    shape = subjects.input_shape(cfg, batch, size)
    model = subjects.build_module(cfg, "model", fused=True).to(device)
    task = task_of(cfg)
    amp = cfg.get("train", {}).get("amp", {})
    dtype = getattr(torch, amp.get("dtype", "float16") if device.type == "cuda" else "bfloat16")
    precision = torch.autocast(device.type, dtype) if amp.get("enabled") else nullcontext()
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)  # so that the step does not allocate it

    def step() -> None:
        _, inputs = subjects.make_inputs(model, task, shape, device)
        for each in inputs if task.two_stages else ():
            # so many objects that the mask head gets as many boxes as it can
            objects = each["instances"]
            each["instances"] = objects[torch.arange(len(objects)).repeat(OBJECTS)]
        with precision:
            losses = list(model.train()(inputs).values())
        torch.autograd.backward(losses, [torch.ones_like(loss) for loss in losses])

    with EventStorage():
        activations = peak_memory(step, device) / batch
    return {"input": shape, "states": state_bytes(cfg, model), "activations": activations}


def state_bytes(cfg: DictConfig, model: nn.Module) -> int:
    """Return the bytes of weights, gradients, optimizer and moving average of a training."""
    trained = sum(w.numel() * w.element_size() for w in model.parameters() if w.requires_grad)
    tensors = [*model.parameters(), *model.buffers()]
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    copies = 2 if cfg.get("train", {}).get("ema", {}).get("enabled") else 1
    return copies * weights + (1 + _tensors_per_weight(cfg)) * trained


def _tensors_per_weight(cfg: DictConfig) -> int:
    """Return how many numbers the optimizer keeps for each weight, by a step of one weight."""
    if "optimizer" not in cfg:
        return 2
    weight = nn.Parameter(torch.zeros(8, 8))
    weight.grad = torch.ones_like(weight)
    optimizer = instantiate({**cfg.optimizer, "params": [weight]})
    optimizer.step()
    states = (value for value in optimizer.state[weight].values() if torch.is_tensor(value))
    return sum(state.numel() for state in states) // weight.numel()


def capacity(counted: dict[str, Any], gigabytes: float) -> dict[str, Any]:
    """Return the largest ``batch`` at the counted size, or its ``megapixels``, or ``side``.

    The megapixels are of all images of a batch together, the side is that of one square image.

    Args:
        counted: from `count_bytes`.
        gigabytes: memory of the GPU, in 1e9 bytes.

    Returns:
        All may be 0. Activations grow with the pixels: what does not grow makes larger
        images seem to need more than they do.
    """
    free = (gigabytes * 1e9 - CONTEXT) * (1 - MARGIN) - counted["states"]
    samples = max(free, 0) / counted["activations"]
    pixels = samples * math.prod(counted["input"][-2:])
    return {
        "gigabytes": gigabytes,
        "batch": int(samples),
        "megapixels": pixels / 1e6,
        "side": int(math.sqrt(pixels)) // MULTIPLE * MULTIPLE,
    }
