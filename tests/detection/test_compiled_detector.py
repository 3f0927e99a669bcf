"""A whole detector under `torch.compile`: what one image compiles serves images of other sizes."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters
from toy_cascade import stir
from toy_model import toy_mask_rcnn

import mvit_det
from mvit_det.detection import GeneralizedRCNN

SIZES = ((96, 160), (75, 131), (225, 90), (120, 72))


@pytest.mark.slow
@pytest.mark.skipif(mvit_det.host() != "embedded", reason="the real one has graphs for each size")
@torch.no_grad()
def test_a_detector_breaks_at_unknown_numbers_of_boxes_alone_and_compiles_once():
    torch.manual_seed(0)
    toy = toy_mask_rcnn()
    stir(toy)
    parts = {n: getattr(toy, n) for n in ("backbone", "proposal_generator", "roi_heads")}
    model = GeneralizedRCNN(**parts, pixel_mean=[100] * 3, pixel_std=[50] * 3).eval()
    torch._dynamo.reset()
    counters.clear()
    graphs = CompileCounter()
    compiled = torch.compile(model, backend=graphs, dynamic=True)
    counts = []
    for seed, (height, width) in enumerate(SIZES):
        generator = torch.Generator().manual_seed(seed)
        image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        found, expected = (f([{"image": image}])[0]["instances"] for f in (compiled, model))
        assert len(expected) > 0 and torch.equal(found.scores, expected.scores)
        assert torch.equal(found.pred_masks.tensor, expected.pred_masks.tensor)
        counts.append(graphs.frame_count)
    assert len(set(counts)) == 1, counts
    reasons = " ".join(counters["graph_break"])
    assert sum(counters["graph_break"].values()) <= 25
    assert "nonzero" in reasons and "nms" in reasons and len(counters["graph_break"]) == 2
