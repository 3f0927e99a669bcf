"""`torch.compile` takes the whole network, and one graph serves all sizes."""

import pytest
import torch
from networks import network, small_plan
from torch._dynamo.testing import CompileCounter

SIZES = ((1, 96, 160), (2, 75, 131), (3, 225, 90), (1, 64, 64), (2, 128, 192))


@pytest.mark.slow
@torch.no_grad()
def test_one_graph_without_breaks_serves_all_sizes():
    module, counter = network(small_plan()), CompileCounter()
    compiled = torch.compile(module, backend=counter, fullgraph=True, dynamic=True)
    for batch, height, width in SIZES:
        x = torch.randn(batch, 3, height, width)
        found = compiled(x)
        for name, expected in module(x).items():
            torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 1
