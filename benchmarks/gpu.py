#!/usr/bin/env python
"""Measure ours and the peers on one CUDA GPU in bfloat16, in under 8 minutes.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --quick      # tries the code and measures nothing

Each side of each row of `JOBS` runs alone in three ways: eager, under a CUDA graph (networks whose
shapes are fixed), and by torch.compile. The table has medians, the share of the chip's peak, which
is that of a large matrix product measured on the same chip, and the peak memory of tensors. FLOPs
are those of `mvit_det.benchmark`, for both sides; a training step counts as three forward passes.
What would start after ``--minutes`` is left out, and said. Two checks come first: whether the
forward pass of our backbone has a host synchronisation, which torch reports as an error, and the
time of each fused attention kernel on our backbones' queries, keys and values.
"""

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from compare import left_out
from measuring import timed
from results import machine
from rows import Options, Row, attention_kernels
from rows.detectors import CONFIGS, QUICK, detector_runs
from rows.networks import DETECTION, backbone_pair, classifier_pair, runs, video_pair
from tabulate import tabulate
from tqdm import tqdm

import mvit_det
from mvit_det.benchmark import counts, subjects
from mvit_det.errors import UserError, exit_on_user_error
from mvit_det.tasks import task_of

WAYS = ("eager", "graph", "compiled")
SIDES = ("ours", "peer")


@dataclass(frozen=True)
class Job:
    """What is measured.

    Attributes:
        name: title of the row.
        config: of our model, for its FLOPs.
        key: what of the model is measured: a config key.
        size: height and width; None for the model's own.
        batch: images or clips.
        step: a training step, not inference.
        peer: name and module of the peer.
        pair: builds the network of a side and its input of batch 1; None: the whole detector.
    """

    name: str
    config: str
    key: str
    size: tuple[int, int] | None
    batch: int
    step: bool
    peer: tuple[str, str]
    pair: Callable[..., tuple[torch.nn.Module, torch.Tensor]] | None = None

    def build(self, side: str, options: Options) -> Callable[[], Any]:
        """Return the function that runs a side once."""
        if self.pair is None:
            return detector_runs(self.config, self.step, side, options)
        network, x = self.pair(side=side, options=options)
        copies = (1 if options.quick else self.batch, *[1] * (x.ndim - 1))
        return runs(network, x.repeat(copies), self.step, options)

    def flops(self, options: Options) -> float:
        """Return the floating-point operations of a run: two per multiplication and addition."""
        size = self.size
        if options.quick and size:
            size = QUICK if self.pair is None else (64, 64)
        one = count(self.config, self.key, size, options.device)
        return one * 2 * (1 if options.quick else self.batch) * (3 if self.step else 1)


def jobs() -> list[Job]:
    """Return what is measured, the most important first."""
    detectron2, key, made = ("Detectron2", "detectron2"), "model.backbone.bottom_up", []
    for variant, size, step in (
        *(("t", 1024, False), ("t", 640, True), ("b", 1024, False), ("b", 640, True)),
        *(("t", 1024, True), ("b", 1024, True)),
    ):
        name = f"backbone {variant.upper()}, {size} x {size}, {'step' if step else 'inference'}"
        pair = partial(backbone_pair, variant, size)
        config = DETECTION.format(variant)
        made.append(Job(name, config, key, (size, size), 1, step, detectron2, pair))
    for step, size in ((False, (800, 1280)), (True, (640, 640))):
        name = f"Mask R-CNN T, {size[0]} x {size[1]}, {'step' if step else 'inference'}"
        made.append(Job(name, CONFIGS["mask-rcnn"], "model", size, 1, step, detectron2))
    for step in (False, True):
        config, kind = "imagenet/mvitv2_t_in1k", "step" if step else "inference"
        pair = partial(classifier_pair, config, "mvitv2_tiny", 1)
        name = f"classifier T, 64 images, {kind}"
        made.append(Job(name, config, "model", None, 64, step, ("timm", "timm"), pair))
        config, peer = "kinetics/mvitv2_s_16x4_k400", ("torchvision", "torchvision")
        pair = partial(video_pair, config, "S", 16)
        made.append(Job(f"S 16x4, 8 clips, {kind}", config, "model", None, 8, step, peer, pair))
    return made


@cache
def count(config: str, key: str, size: tuple[int, int] | None, device: str) -> float:
    """Count the multiplications with addition of one image or clip."""
    cfg = mvit_det.get_config(config)
    model = subjects.build_for_counting(cfg, key, torch.device(device))
    return counts.count(model, task_of(cfg), subjects.input_shape(cfg, 1, size))["flops"]


def peak_of_chip(options: Options) -> float:
    """Return the floating-point operations per second of a large matrix product."""
    side = 256 if options.quick else 8192
    dtype = getattr(torch, options.precision)
    a, b = (torch.randn(side, side, device=options.device, dtype=dtype) for _ in range(2))
    seconds = [timed(lambda: a @ b, options.device) for _ in range(20)]
    return 2 * side**3 / statistics.median(seconds[5:])


def captured(run: Callable[[], Any]) -> Callable[[], Any]:
    """Return the replay of a run that is captured in a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def measure(job: Job, side: str, way: str, options: Options) -> dict[str, float]:
    """Measure one side; return median seconds and the peak memory of tensors in bytes."""
    cuda = options.device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(0)
    run = job.build(side, options)
    if way == "graph":
        run = captured(run)
    for _ in range(1 if options.quick else 3):
        run()
    rounds = 1 if options.quick else 10
    seconds = statistics.median(timed(run, options.device) for _ in range(rounds))
    peak = torch.cuda.max_memory_allocated() if cuda else float("nan")
    return {"seconds": seconds, "peak": peak}


def measure_all(options: Options, minutes: float) -> Iterator[dict[str, Any]]:
    """Yield the results of each job in each way; say what is left out, and why."""
    end = time.monotonic() + 60 * minutes
    made = jobs()
    todo = [(job, way) for way in WAYS for job in made]
    todo = [(job, way) for job, way in todo if way != "graph" or job.pair]
    if options.device != "cuda":
        todo = [(job, way) for job, way in todo if way != "graph"]
    if options.quick:  # of each kind of network one, a step, and one compiled
        tried = [job for job in made if " B," not in job.name and not job.step]
        todo = [*((job, "eager") for job in [*tried, made[1]]), (made[0], "compiled")]
    for number, (job, way) in enumerate(tqdm(todo, leave=False)):
        if time.monotonic() > end:
            names = "; ".join(f"{job.name}, {way}" for job, way in todo[number:])
            print(f"Left out after {minutes:g} minutes: {names}.")
            return
        given = Options(**{**vars(options), "compiled": way == "compiled"})
        result: dict[str, Any] = {"job": job.name, "way": way, "flops": job.flops(options)}
        for side in SIDES:
            peer = Row(job.name, "", *job.peer, build=job.build)
            if side == "peer" and left_out(peer, given):
                continue
            try:
                result[side] = measure(job, side, way, given)
            except Exception as error:  # capture and compilation fail in many ways
                lines = str(error).strip().splitlines() or [type(error).__name__]
                print(f"{job.name}, {way}, {side} failed: {lines[0]}")
            torch.compiler.reset()
            gc.collect()
            if options.device == "cuda":
                torch.cuda.empty_cache()
        yield result


def table(results: list[dict[str, Any]], peak: float) -> str:
    """Format the results as a Markdown table."""
    heads = ["", "how", "ours, ms", "peer, ms", "ratio", "to peer eager", "share of peak", "peer's"]
    heads += ["memory, MB", "peer's, MB"]
    eager = {
        each["job"]: each["peer"] for each in results if each["way"] == "eager" if "peer" in each
    }
    rows = []
    for each in results:
        ours, peer, plain = each.get("ours"), each.get("peer"), eager.get(each["job"])
        both = [run and run["seconds"] for run in (ours, peer)]
        rows.append(
            [
                each["job"],
                each["way"],
                *(one and 1e3 * one for one in both),
                peer and ours and peer["seconds"] / ours["seconds"],
                plain and ours and plain["seconds"] / ours["seconds"],
                *(one and each["flops"] / one / peak for one in both),
                *(run and run["peak"] / 1e6 for run in (ours, peer)),
            ]
        )
    return tabulate(rows, heads, tablefmt="github", floatfmt=".3g")


def synchronisation(options: Options) -> str:
    """Say whether the forward pass of our backbone waits for the GPU."""
    if options.device != "cuda":
        return "Host synchronisation of the backbone is not checked without a GPU."
    run = jobs()[0].build("ours", options)
    run()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    except RuntimeError as error:
        return f"The forward pass of the backbone waits for the GPU: {error}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "The forward pass of the backbone has no host synchronisation."


def kernels_of_attention(options: Options) -> list[list[Any]]:
    """Measure torch's fused attention kernels for one image of 1024 x 1024."""
    return [
        [variant.upper(), *row]
        for variant in ("t", "b")
        for row in attention_kernels.rows_of(variant, 1024, options)
    ]


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the code")
    parser.add_argument("--minutes", type=float, default=7.0, help="nothing starts after them")
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "this script needs a CUDA GPU and torch sees none: try its code with --device cpu "
            "--quick."
        )
    options = Options("bfloat16", torch.get_num_threads(), args.device, quick=args.quick)
    where = machine(torch.cuda.get_device_name() if args.device == "cuda" else None)
    peak = peak_of_chip(options)
    print(synchronisation(options))
    attention = kernels_of_attention(options)
    # formatted here: tabulate leaves numbers next to words as they are
    cells = [[f"{x:.3g}" if isinstance(x, float) else x for x in row] for row in attention]
    heads = ["backbone", *attention_kernels.HEADS]
    print(tabulate(cells, heads, tablefmt="github", disable_numparse=True), flush=True)
    results = list(measure_all(options, args.minutes))
    print(f"\n{table(results, peak)}")
    print(f"\n{json.dumps(where)}\nPeak of the chip in bfloat16: {peak / 1e12:.3g} TFLOP/s.")
    if args.output:
        content = {**where, "peak": peak, "attention": attention, "results": results}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    with exit_on_user_error():
        main()
