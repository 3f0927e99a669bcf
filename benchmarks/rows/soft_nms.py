"""Soft-NMS on 1000 boxes x 80 classes, all above the threshold.

There are two kinds of candidates: spread over the image with random scores, and crowded around 20
objects with scores like a detector's. The peers are torchvision's NMS of the same candidates, and
what the box heads of the paper's models take for the 1000 boxes.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from rows import Options, Row

BOXES, CLASSES, TOP_K = 1000, 80, 100
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "head": ("box head, 2 FC (Mask R-CNN)", dict(conv_dims=[], fc_dims=[1024, 1024])),
    "cascade-head": (
        "box head, 4 conv 1 FC (a stage of Cascade)",
        dict(conv_dims=[256] * 4, fc_dims=[1024], conv_norm="BN"),
    ),
}
# IoU above which a box is removed; it never exceeds 1
NMS = {
    "nms": ("torchvision, plain NMS", 0.5),
    "nms-all": ("torchvision, NMS that keeps all", 2.0),
}


def rows() -> Iterator[Row]:
    """Yield the rows; "soft-nms" itself is linear, crowded, against plain NMS."""
    for crowded in (True, False):
        for method in ("linear", "gaussian"):
            for peer, (title, _) in {**NMS, **HEADS}.items():
                place = "crowded" if crowded else "spread"
                first = (crowded, method, peer) == (True, "linear", "nms")
                name = "soft-nms" if first else f"soft-nms-{method}-{place}-{peer}"
                what = f"Soft-NMS, {method}, {BOXES} x {CLASSES} {place} candidates"
                build = partial(_build, crowded, method, peer)
                yield Row(
                    name,
                    what,
                    title,
                    "torchvision",
                    build,
                    precisions=False,
                    anywhere=True,
                    named=not first,
                )


def draw_candidates(boxes: int, crowded: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw boxes (N, 4), scores (N,), classes (N,) of proposals in an 800 x 1280 image."""
    objects = torch.rand(20 if crowded else boxes, 4) * torch.tensor([1180, 700, 200, 200])
    near, side = objects[torch.arange(boxes) % len(objects)].split(2, dim=1)
    drawn = torch.cat((near, near + side + 20), dim=1)[:, None]
    drawn = (drawn + torch.randn(boxes, CLASSES, 4) * 6).flatten(0, 1)
    scores = torch.rand(boxes, CLASSES)
    if crowded:
        scores = (torch.randn(boxes, CLASSES) * 2).softmax(dim=1)
    return drawn, scores.flatten().clamp(min=2e-3), torch.arange(CLASSES).repeat(boxes)


def _build(
    crowded: bool, method: str, peer: str, side: str, options: Options
) -> Callable[[], None]:
    import mvit_det  # noqa: F401  makes detectron2 importable

    # isort: split
    from detectron2.layers import ShapeSpec, batched_nms
    from detectron2.modeling.roi_heads import FastRCNNConvFCHead

    from mvit_det.detection import soft_nms

    count = 50 if options.quick else BOXES
    candidates = [x.to(options.device) for x in draw_candidates(count, crowded)]
    if side == "ours":
        function = partial(soft_nms, *candidates, method=method, top_k=TOP_K)
    elif peer in NMS:
        function = partial(batched_nms, *candidates, NMS[peer][1])
    else:
        shape = ShapeSpec(channels=256, height=7, width=7)
        head = FastRCNNConvFCHead(shape, **HEADS[peer][1]).to(options.device).eval()
        function = partial(head, torch.randn(count, 256, 7, 7, device=options.device))

    @torch.no_grad()
    def run() -> None:
        function()  # what the peers compute is something else

    return run
