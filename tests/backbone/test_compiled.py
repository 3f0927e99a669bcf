"""`torch.compile` takes the whole network, and one graph serves images of all sizes."""

import pytest
import torch
from networks import hwin_plan, network
from torch._dynamo.testing import CompileCounter

from mvit_det.backbone import Variant

# windows of 8 tokens that fit, do not fit, and are larger than the grid; none is the nominal 64,
# which has a graph of its own, without resized position tables
SIZES = ((96, 160), (75, 131), (225, 90), (40, 72))


@pytest.mark.slow
@torch.no_grad()
def test_one_graph_without_breaks_serves_all_sizes():
    variant = Variant(embed_dim=16, depths=(1, 2, 1), num_heads=1)
    module = network(
        hwin_plan(variant, grid=(16, 16), window=(8, 8)), out_features=("scale2", "scale4")
    )
    torch._dynamo.reset()
    graphs = CompileCounter()
    compiled = torch.compile(module, backend=graphs, fullgraph=True, dynamic=True)

    def run(batch, height, width):
        x = torch.randn(batch, 3, height, width)
        found = compiled(x)
        for name, expected in module(x).items():
            torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)

    for size in SIZES:
        run(1, *size)
    assert graphs.frame_count == 1
    for batch, size in enumerate(SIZES, start=2):
        run(batch, *size)
    assert graphs.frame_count == 2  # torch.compile has another for more than one image
