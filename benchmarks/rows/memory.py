"""Memory of a training step by what is recomputed, next to Detectron2's.

    python benchmarks/compare.py memory [--size 640] [--threads 2] [--rounds 3]
    python benchmarks/compare.py memory --preload /usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4

Backbone T, one image, float32, on the CPU. Each figure is of a process of its own; the processes of
a round run one after the other. Saved: what is kept for the backward pass, without parameters.
Peak: the largest resident memory of the process; growth: the same without what it had before the
first step, which is libraries and weights; tensors: the largest sum of their sizes during a step,
gradients included. Seconds are medians of the second step of each process. ``--preload`` measures
Detectron2 and "branches" with another memory allocator, too: glibc's keeps much of what is freed.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import COMPARE, PEER, THREADS, peak_memory
from tabulate import tabulate
from tqdm import tqdm

from mvit_det.errors import UserError

# title -> `use_act_checkpoint` of ours; Detectron2's has one that is True or False
SIDES: dict[str, Any] = {
    "Detectron2": None,
    "ours": False,
    "ours, mlp": "mlp",
    "ours, attention": "attention",
    "ours, branches": "branches",
    "ours, branches in stages 1 and 2": ["branches", "branches", False, False],
    "ours, whole blocks": True,
}
PRELOADED = ("Detectron2", "ours, branches")  # sides that `--preload` measures again
CONFIG = "mask_rcnn_mvitv2_t_3x"


def measure(side: str, size: int, threads: int) -> dict[str, float] | None:
    """Measure two training steps of one side, in this process.

    Returns:
        "saved", "tensors", "growth" and "peak" in bytes, and "seconds"; None without Detectron2's
        MViT.
    """
    import torch
    from omegaconf import OmegaConf

    import mvit_det
    from mvit_det.benchmark import subjects, timing

    torch.set_num_threads(threads)
    cfg = mvit_det.get_config(CONFIG)
    key = subjects.backbone_key(cfg)
    OmegaConf.update(cfg, f"{key}.drop_path_rate", 0.0)
    if side != "Detectron2":
        OmegaConf.update(cfg, f"{key}.use_act_checkpoint", SIDES[side])
    network = subjects.build_module(cfg, key, fused=True)
    if side == "Detectron2":
        theirs = subjects.build_detectron2_mvit(cfg, network)
        if theirs is None:
            return None
        network = theirs
    images = torch.randn(1, 3, size, size)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    before = pages * resource.getpagesize()
    timing.training_step(network, images)
    begin = time.perf_counter()
    timing.training_step(network, images)
    seconds = time.perf_counter() - begin
    peak = peak_memory("cpu")

    def step() -> None:
        timing.training_step(network, images)

    return {
        "saved": timing.saved_memory(step, network),
        "tensors": timing.peak_memory(step, torch.device("cpu")),
        "growth": peak - before,
        "peak": peak,
        "seconds": seconds,
    }


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure all sides in turn, print a table and return its figures, medians by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=640, metavar="PIXELS")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--preload", type=Path, metavar="LIBRARY.so", help="a memory allocator")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.side:
        print(json.dumps(measure(args.side, args.size, args.threads)))
        return {}
    if args.preload and not args.preload.is_file():
        raise UserError(f"--preload {args.preload}: there is no such file.")
    sides: dict[str, tuple[str, dict[str, str]]] = {side: (side, {}) for side in SIDES}
    for side in PRELOADED if args.preload else ():
        name = f"{side}, {args.preload.name.partition('.')[0]}"
        sides[name] = (side, {"LD_PRELOAD": str(args.preload.resolve())})
    runs: dict[str, list[dict[str, float]]] = {title: [] for title in sides}
    command = [sys.executable, str(COMPARE), "memory"]
    command += [f"--size={args.size}", f"--threads={args.threads}"]
    environment = {**os.environ, **dict.fromkeys(THREADS, str(args.threads))}
    for _ in tqdm(range(args.rounds), desc="rounds"):
        for title, results in runs.items():
            side, more = sides[title]
            output = subprocess.check_output(
                [*command, f"--side={side}"],
                env={**environment, **more, **(PEER if side == "Detectron2" else {})},
                stderr=subprocess.DEVNULL,
            )
            result = json.loads(output.splitlines()[-1])
            if result is not None:
                results.append(result)
    figures = {
        title: {key: statistics.median(each[key] for each in results) for key in results[0]}
        for title, results in runs.items()
        if results
    }
    print(table(figures))
    return figures


def table(figures: dict[str, dict[str, float]]) -> str:
    """Format figures as a Markdown table; shares are of Detectron2's, where it was measured."""
    peer = figures.get("Detectron2")
    rows = []
    for side, of_side in figures.items():
        row = [side]
        for key, value in of_side.items():
            text = f"{value:.2f} s" if key == "seconds" else f"{value / 1e6:,.0f} MB"
            row.append(text + (f" ({value / peer[key]:.2f})" if peer else ""))
        rows.append(row)
    return tabulate(rows, ["", "saved", "tensors", "growth", "peak", "step"], tablefmt="github")
