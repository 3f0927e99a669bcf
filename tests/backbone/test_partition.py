"""Partitions against plain Python loops, on whole and on ragged grids."""

from itertools import product

import pytest
import torch

from mvit_det.backbone.partition import Full, Windows
from mvit_det.kernels.windows import merge_windows, split_windows

# grid, window
CASES = [
    pytest.param((8, 12), (4, 4), id="whole"),
    pytest.param((7, 10), (4, 4), id="ragged"),
    pytest.param((9, 8), (4, 2), id="ragged-one-axis"),
    pytest.param((3, 2), (5, 7), id="smaller-than-a-window"),
    pytest.param((1, 1), (7, 7), id="one-token"),
    pytest.param((6, 5), (1, 1), id="windows-of-one"),
    pytest.param((4, 8, 4), (2, 4, 4), id="clip-whole"),
    pytest.param((3, 5, 4), (2, 4, 3), id="clip-ragged"),
]
every_case = pytest.mark.parametrize("grid, size", CASES)


def tokens(grid, batch=2, heads=3, head_dim=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    # never zero, unlike padding
    return 1 + torch.rand(batch, *grid, heads, head_dim, generator=generator, dtype=dtype)


def split_by_hand(x: torch.Tensor, size) -> torch.Tensor:
    """Split sample by sample, window by window; a place beyond the grid is a zero vector."""
    grid = x.shape[1:-2]
    counts = [(n + w - 1) // w for n, w in zip(grid, size)]
    groups = []
    for sample in x:
        for window in product(*map(range, counts)):
            group = []
            for offset in product(*map(range, size)):
                place = tuple(c * w + o for c, w, o in zip(window, size, offset))
                inside = all(p < n for p, n in zip(place, grid))
                group.append(sample[place] if inside else torch.zeros(x.shape[-2:]))
            # (N, heads, D) -> (heads, N, D)
            groups.append(torch.stack(group, dim=1))
    return torch.stack(groups)


@every_case
def test_split_equals_the_plain_loop(grid, size):
    x = tokens(grid)
    groups = Windows(size).split(x)
    assert torch.equal(groups, split_by_hand(x, size))
    # tokens and groups may lie in memory in any order
    turned = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(Windows(size).split(turned), groups)
    assert torch.equal(Windows(size).merge(groups.contiguous(), grid), x)


@every_case
def test_merge_undoes_split(grid, size):
    x = tokens(grid)
    partition = Windows(size)
    merged = partition.merge(partition.split(x), grid)
    assert torch.equal(merged, x)
    assert merged.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_type_is_kept(dtype):
    x = tokens((7, 10), dtype=torch.float64).to(dtype)
    groups = Windows((4, 4)).split(x)
    assert groups.dtype == dtype
    assert torch.equal(Windows((4, 4)).merge(groups, (7, 10)), x)


@every_case
def test_gradients(grid, size):
    x = tokens(grid, batch=1, heads=1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: split_windows(t, size), x)
    groups = split_windows(x, size).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: merge_windows(t, size, grid), groups)


def test_full_is_one_group_per_sample():
    x = tokens((3, 5))
    groups = Full().split(x)
    assert groups.shape == (2, 3, 15, 2)
    for sample, head in product(range(2), range(3)):
        assert torch.equal(groups[sample, head], x[sample, :, :, head].reshape(15, 2))
    assert torch.equal(Full().merge(groups, (3, 5)), x)
