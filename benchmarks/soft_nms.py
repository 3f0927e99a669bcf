"""Time Soft-NMS on 1000 boxes x 80 classes, all above the threshold, against the box heads.

    python benchmarks/soft_nms.py [--repeats 5] [--device cuda]

There are two kinds of candidates: spread over the image with random scores, and crowded around 20
objects with scores like a detector's. "NMS that keeps all" is how `GeneralizedRCNN` collects them.
Everything runs in turn in one process. The result is the ratio of the median to that of each head
of the paper's models (forward of 1000 crops of 256 x 7 x 7).
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch

import mvit_det  # noqa: F401  makes detectron2 importable

# isort: split
from detectron2.layers import ShapeSpec, batched_nms
from detectron2.modeling.roi_heads import FastRCNNConvFCHead

from mvit_det.benchmark.timing import time_run
from mvit_det.detection import soft_nms

BOXES, CLASSES, TOP_K = 1000, 80, 100
HEADS = {
    "box head, 2 FC (Mask R-CNN)": dict(conv_dims=[], fc_dims=[1024, 1024]),
    "box head, 4 conv 1 FC (a stage of Cascade)": dict(
        conv_dims=[256] * 4, fc_dims=[1024], conv_norm="BN"
    ),
}


def draw_candidates(crowded: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw boxes (N, 4), scores (N,), classes (N,) of 1000 proposals in an 800 x 1280 image."""
    objects = torch.rand(20 if crowded else BOXES, 4) * torch.tensor([1180, 700, 200, 200])
    near, side = objects[torch.arange(BOXES) % len(objects)].split(2, dim=1)
    boxes = torch.cat((near, near + side + 20), dim=1)[:, None]
    boxes = (boxes + torch.randn(BOXES, CLASSES, 4) * 6).flatten(0, 1)
    scores = torch.rand(BOXES, CLASSES)
    if crowded:
        scores = (torch.randn(BOXES, CLASSES) * 2).softmax(dim=1)
    return boxes, scores.flatten().clamp(min=2e-3), torch.arange(CLASSES).repeat(BOXES)


def build_runs(device: torch.device) -> dict[str, Callable[[], object]]:
    """Build the functions to time: name -> function without arguments."""
    runs = {}
    crops = torch.randn(BOXES, 256, 7, 7, device=device)
    for name, layers in HEADS.items():
        shape = ShapeSpec(channels=256, height=7, width=7)
        runs[name] = partial(FastRCNNConvFCHead(shape, **layers).to(device).eval(), crops)
    for crowded in (False, True):
        kind = "crowded" if crowded else "spread"
        inputs = [x.to(device) for x in draw_candidates(crowded)]
        for method in ("linear", "gaussian"):
            runs[f"soft_nms, {method}, {kind}"] = partial(
                soft_nms, *inputs, method=method, top_k=TOP_K
            )
        runs[f"plain NMS, {kind}"] = partial(batched_nms, *inputs, 0.5)
        runs[f"NMS that keeps all, {kind}"] = partial(batched_nms, *inputs, 2.0)
    return runs


@torch.no_grad()
def main() -> None:
    """Time everything in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.manual_seed(0)
    runs = build_runs(device)
    times = {name: [] for name in runs}
    for _ in range(args.repeats + 1):
        for name, run in runs.items():
            times[name].append(time_run(run, device))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    print(f"{torch.get_num_threads()} threads, {device}; over: ratio to the time of that head")
    print(f"{'':44}{'ms':>10}{'over 2 FC':>12}{'over 4 conv':>12}")
    for name, time in medians.items():
        ratios = "".join(f"{time / medians[head]:>12.4f}" for head in HEADS)
        print(f"{name:44}{time * 1e3:>10.2f}{ratios}")


if __name__ == "__main__":
    main()
