"""What `torch.export` traces equals the modules, for sizes that it has not seen."""

import pytest
import torch
from conftest import embedded_host
from networks import clip_plan, network, small_plan
from small_action import BOXES, detector, random_clips
from toy_cascade import stir, toy_cascade
from toy_model import toy_mask_rcnn

from mvit_det.backbone import Variant
from mvit_det.detection import GeneralizedRCNN
from mvit_det.detection.program import DetectorProgram
from mvit_det.export.convert import trace
from mvit_det.recognition.program import ActionProgram

ANY_SIZE = {"x": ("float32", "N,3,H,W", "")}


def program_of(module, example, ports):
    return trace(module, example, ports).module(check_guards=False)


@pytest.fixture(scope="module")
def traced():
    torch.manual_seed(0)
    module = network(small_plan())
    return module, program_of(module, (torch.randn(2, 3, 96, 160),), ANY_SIZE)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 75, 131), (1, 225, 90)])
def test_backbone_of_other_sizes(traced, shape) -> None:
    module, program = traced
    batch, height, width = shape
    x = torch.randn(batch, 3, height, width)
    found = program(x)
    for name, expected in module(x).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)
