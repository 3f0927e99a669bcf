"""Growth of time and memory with pixels, frames and boxes, with fitted exponents and a picture.

    python benchmarks/compare.py growth --output docs/images/growth.png

Inference in float32 on the CPU. Pixels: the backbone of the detector T. Frames: the classifier S of
16-frame clips, one clip of 224 x 224 pixels. Boxes: the box head of the same detector, on proposals
of one image. All sizes run in turn, after one run of each that is not counted; seconds are the
smallest of the rounds, since other work on the machine only ever adds to them. Memory is the peak
of tensors, without weights and inputs. An exponent is the slope of a straight line through the
logarithms; FLOPs are counted, and grow faster than pixels through attention over the whole image.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from results import processor
from tabulate import tabulate
from tqdm import tqdm

DETECTOR, VIDEO = "mask_rcnn_mvitv2_t_3x", "kinetics/mvitv2_s_16x4_k400"
SIDES = (512, 768, 1024, 1280, 1536)  # pixels
FRAMES = (8, 16, 24, 32)
BOXES = (250, 500, 1000, 2000)
# the function that runs at a size, and its FLOPs (None: no count)
Runs = tuple[Callable[[], Any], int | None]


def pixel_runs() -> Iterator[tuple[int, Runs]]:
    """Yield pixels, and the backbone on an image of so many."""
    import torch

    import mvit_det
    from mvit_det.benchmark import counts, subjects

    cfg = mvit_det.get_config(DETECTOR)
    key = subjects.backbone_key(cfg)
    network = subjects.build_module(cfg, key, fused=True).eval()
    with torch.device("meta"):
        plain = subjects.build_module(cfg, key).eval()
    for side in SIDES:
        shape = (1, 3, side, side)
        flops, _, _ = counts.count_by_shapes(plain, torch.empty(shape, device="meta"))
        images = torch.randn(shape)
        yield side**2, (partial(network, images), flops)


def frame_runs() -> Iterator[tuple[int, Runs]]:
    """Yield frames, and the classifier on a clip of so many."""
    import torch

    import mvit_det
    from mvit_det.benchmark import counts, subjects

    cfg = mvit_det.get_config(VIDEO)
    network: Any = subjects.build_module(cfg, "model", fused=True).eval()
    with torch.device("meta"):
        plain: Any = subjects.build_module(cfg, subjects.backbone_key(cfg)).eval()
    plain.forward = plain.encode
    for frames in FRAMES:
        shape = (1, 3, frames, 224, 224)
        flops, _, _ = counts.count_by_shapes(plain, torch.empty(shape, device="meta"))
        clips = torch.randn(shape)
        yield frames, (partial(network.logits, clips), flops)


def box_runs() -> Iterator[tuple[int, Runs]]:
    """Yield boxes, and the box head on so many proposals."""
    import torch

    import mvit_det  # first: it brings the host
    from mvit_det.benchmark import subjects
    from detectron2.structures import Boxes  # isort: skip

    model: Any = subjects.build_module(mvit_det.get_config(DETECTOR), "model", fused=True).eval()
    size = (512, 512)
    names = model.roi_heads.box_in_features
    channels = model.backbone.output_shape()
    maps = [
        torch.randn(1, channels[n].channels, *(s // channels[n].stride for s in size))
        for n in names
    ]

    for count in BOXES:
        corners = torch.rand(count, 2) * 400
        boxes = Boxes(torch.cat([corners, corners + 8 + torch.rand(count, 2) * 100], dim=1))
        yield count, (partial(_box_head, model.roi_heads, maps, boxes), None)


def _box_head(heads: Any, maps: list, boxes: Any) -> Any:
    return heads.box_predictor(heads.box_head(heads.box_pooler(maps, [boxes])))


AXES = {"pixels": pixel_runs, "frames": frame_runs, "boxes": box_runs}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of a straight line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def measure(runs: dict[int, Runs], rounds: int, label: str) -> dict[str, list[float]]:
    """Return "seconds", "bytes" and "flops" (may be empty) per size, in the order of the sizes."""
    import torch

    from mvit_det.benchmark.timing import peak_memory

    seconds: dict[int, list[float]] = {size: [] for size in runs}
    with torch.inference_mode():
        for number in tqdm(range(rounds + 1), desc=label):
            for size, (run, _) in runs.items():
                begin = time.perf_counter()
                run()
                if number:
                    seconds[size].append(time.perf_counter() - begin)
        peaks = [float(peak_memory(run, torch.device("cpu"))) for run, _ in runs.values()]
    flops = [float(count) for _, count in runs.values() if count is not None]
    return {"seconds": list(map(min, seconds.values())), "bytes": peaks, "flops": flops}


def draw(figures: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Draw time and memory over each axis, both logarithmic, with the fitted lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator

    figure, axes = plt.subplots(
        2, len(figures), figsize=(4 * len(figures), 6), sharex="col", squeeze=False
    )
    for column, (name, of_axis) in zip(axes.T, figures.items()):
        sizes = np.array(of_axis["sizes"])
        for plot, (key, unit) in zip(column, {"seconds": 1.0, "bytes": 1e6}.items()):
            values = np.array(of_axis[key]) / unit
            slope, start = np.polyfit(np.log(sizes), np.log(values), 1)
            plot.loglog(sizes, values, "o")
            plot.loglog(sizes, np.exp(start) * sizes**slope, label=f"exponent {slope:.2f}")
            if key == "seconds" and of_axis["flops"]:
                flops = np.array(of_axis["flops"])
                line = flops * values[0] / flops[0]
                label = f"counted FLOPs, {exponent(of_axis['sizes'], of_axis['flops']):.2f}"
                plot.loglog(sizes, line, ":", color="gray", label=label)
            plot.set_ylabel("seconds" if key == "seconds" else "MB")
            plot.set_xticks(sizes, [f"{s / 1e6:.2g} M" if s >= 1e5 else f"{s:g}" for s in sizes])
            plot.minorticks_off()
            plot.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            plot.yaxis.set_major_formatter("{x:g}")
            plot.legend()
        column[-1].set_xlabel(name)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Measure, print a table, draw, and return the figures by axis."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--output", type=Path, metavar="PICTURE", help="file to draw to")
    args = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(args.threads)
    figures: dict[str, dict[str, list[float]]] = {}
    rows = []
    for name in args.axes:
        runs = dict(AXES[name]())
        figures[name] = {"sizes": list(map(float, runs)), **measure(runs, args.rounds, name)}
        columns = [figures[name][key] for key in ("sizes", "seconds", "bytes", "flops")]
        sizes, seconds, peaks, flops = columns
        for index, size in enumerate(sizes):
            counted = f"{flops[index] / 1e9:.1f}" if flops else "-"
            values = f"{seconds[index]:.3f}", f"{peaks[index] / 1e6:,.0f}", counted
            rows.append([f"{size:,.0f} {name}", *values])
        slopes = [f"{exponent(sizes, each):.2f}" if each else "-" for each in columns[1:]]
        rows.append([f"**exponent in {name}**", *slopes])
    print(tabulate(rows, ["", "seconds", "memory, MB", "FLOPs, G"], tablefmt="github"))
    print(f"\n{processor()}, {args.threads} threads")
    if args.output:
        draw(figures, args.output)
    return figures
