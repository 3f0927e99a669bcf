"""Measure time and memory of several models in turn."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from detectron2.utils.events import EventStorage
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from mvit_det.precision import InPrecision

# Measured quantities: seconds, one per round; and bytes.
TIMES = ("forward", "training_step")
SIZES = ("forward_peak", "training_peak", "saved_for_backward")


def measure_models(
    models: dict[str, nn.Module],
    inputs: tuple[Any, Any],
    repeats: int,
    device: torch.device,
    label: str,
    precision: torch.dtype = torch.float32,
) -> dict[str, dict[str, Any]]:
    """Time inference in turn (A B C A B C), then measure memory, then time training in turn.

    Inference comes first because training leaves the CPU's allocator with memory in reserve, which
    a process that only infers does not have: there large temporaries cost more.

    Args:
        models: name -> model, on the device.
        inputs: the inputs for evaluation, and those for training.
        repeats: number of rounds.
        device: device of models and inputs.
        label: title of the progress bar.
        precision: of `mvit_det.precision.autocast`.

    Returns:
        Per model a list of seconds for each of ``TIMES`` and bytes for each of ``SIZES``.
    """
    wrapped = {name: InPrecision(model, precision) for name, model in models.items()}
    runs = {
        name: (partial(forward, model, inputs[0]), partial(training_step, model, inputs[1]))
        for name, model in wrapped.items()
    }
    results: dict[str, dict[str, Any]] = {name: {key: [] for key in TIMES} for name in models}
    with EventStorage(), tqdm(total=len(models) * (2 * repeats + 2), desc=label) as progress:

        def time_in_turn(kind: int) -> None:
            for _ in range(repeats):
                for name in models:
                    results[name][TIMES[kind]].append(time_run(runs[name][kind], device))
                    progress.update()

        for test, _ in runs.values():
            test()  # warm-up
            progress.update()
        time_in_turn(0)
        for name, (test, train) in runs.items():
            results[name]["forward_peak"] = peak_memory(test, device)
            results[name]["training_peak"] = peak_memory(train, device)
            results[name]["saved_for_backward"] = saved_memory(train, models[name])
            progress.update()
        time_in_turn(1)
    return results


def forward(model: nn.Module, inputs: Any) -> None:
    """Run inference in evaluation mode, without gradients."""
    with torch.no_grad():
        model.eval()(inputs)


def training_step(model: nn.Module, inputs: Any) -> None:
    """Run forward, and backward from all losses or feature maps; no optimizer."""
    outputs = list(model.train()(inputs).values())
    torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])
    model.zero_grad(set_to_none=True)


def time_run(run: Callable[[], None], device: torch.device) -> float:
    """Return the wall-clock seconds of ``run``, including the work it queues on the device."""
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - start


def peak_memory(run: Callable[[], None], device: torch.device) -> int:
    """Return the peak bytes of tensors during ``run``, in addition to those allocated before."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    # The CPU's allocator keeps no such figure, but reports every change to the profiler.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else each start is announced on stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.json")
        profiler.export_chrome_trace(path)
        with open(path, encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
    changes = sorted((e for e in events if e["name"] == "[memory]"), key=lambda e: e["ts"])
    return max(accumulate((e["args"]["Bytes"] for e in changes), initial=0))


def saved_memory(run: Callable[[], None], model: nn.Module) -> int:
    """Return the bytes that ``run`` saves for backward: distinct storages, without parameters."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages = {}

    def count_storage(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(count_storage, lambda tensor: tensor):
        run()
    return sum(storages.values())


def compare_models(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Divide the results of every other model by the first's: above 1, the first needs less.

    Returns:
        ``"plain / fused"`` etc. -> quantity -> ratio; for times the ratio of the medians
        (``median``), with the smallest and the largest ratio of a round (``min``, ``max``).
    """
    (first, base), *others = results.items()
    ratios = {}
    for name, result in others:
        row = ratios[f"{name} / {first}"] = {key: result[key] / base[key] for key in SIZES}
        for key in TIMES:
            rounds = [a / b for a, b in zip(result[key], base[key])]
            ratio = statistics.median(result[key]) / statistics.median(base[key])
            row[key] = {"median": ratio, "min": min(rounds), "max": max(rounds)}
    return ratios
