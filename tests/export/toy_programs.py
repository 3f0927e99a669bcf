"""Detectors without a transformer, which are traced in seconds, and comparisons of programs."""

import pytest
import torch
from toy_cascade import stir, toy_cascade
from toy_model import toy_mask_rcnn

import mvit_det
from mvit_det.detection import GeneralizedRCNN
from mvit_det.detection.program import DetectorProgram

embedded_host = pytest.mark.skipif(
    mvit_det.host() != "embedded", reason="the program of a detector is the embedded host's"
)


def toy_program(cascade: bool, masks: bool = True, **options) -> DetectorProgram:
    """The program of a Mask R-CNN or a Cascade R-CNN with seeded weights that detects something."""
    torch.manual_seed(0)
    toy = toy_cascade(mask=masks) if cascade else toy_mask_rcnn(mask=masks)
    stir(toy)
    for module in toy.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    model = GeneralizedRCNN(
        backbone=toy.backbone,
        proposal_generator=toy.proposal_generator,
        roi_heads=toy.roi_heads,
        pixel_mean=[100, 110, 120],
        pixel_std=[50, 60, 70],
        input_format="BGR",
        **options,
    )
    return DetectorProgram(model.eval()).eval()


def pictures(*sizes: tuple[int, int], seed: int = 0) -> list[dict]:
    """Inputs of a detector: random pictures of sizes (H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {"image": torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)}
        for size in sizes
    ]
