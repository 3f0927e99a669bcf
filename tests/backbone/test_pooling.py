"""Pooling of heads, of the skip connection and of pixels, against one plain call per head."""

import pytest
import torch
import torch.nn.functional as F

from mvit_det.backbone.layers import PatchEmbed
from mvit_det.backbone.pooling import build_pool, max_pool, pool_heads

CASES = [
    pytest.param((8, 6), (3, 3), (1, 1), id="stride-1"),
    pytest.param((7, 9), (3, 3), (2, 2), id="ragged"),
    pytest.param((7, 9), (3, 3), (4, 4), id="stride-4"),
    pytest.param((1, 1), (3, 3), (2, 2), id="one-token"),
    pytest.param((6, 5), (5, 5), (2, 2), id="kernel-5"),
    pytest.param((3, 7, 5), (3, 3, 3), (1, 2, 2), id="clip"),
    pytest.param((3, 7, 5), (3, 3, 3), (1, 8, 8), id="clip-stride-8"),
    pytest.param((1, 7, 5), (3, 3, 3), (1, 2, 2), id="clip-one-frame"),
    pytest.param((2, 7, 5), (5, 3, 3), (1, 1, 1), id="clip-longer-kernel-than-clip"),
    pytest.param((5, 7, 5), (3, 3, 3), (2, 2, 2), id="clip-pooled-in-time"),
    pytest.param((4, 7, 5), (1, 3, 3), (1, 2, 2), id="clip-frames-apart"),
]


@pytest.mark.parametrize("grid, kernel, stride", CASES)
@torch.no_grad()
def test_heads_share_one_filter(grid, kernel, stride):
    heads, head_dim = 3, 4
    x = torch.randn(2, *grid, heads * head_dim, generator=torch.Generator().manual_seed(0))
    pool = build_pool(head_dim, kernel, stride)
    assert pool.weight.shape == (head_dim, 1, *kernel) and pool.bias is None
    pooled = pool_heads(x, pool, heads)
    assert pooled.shape == (2, *(-(-n // s) for n, s in zip(grid, stride)), heads, head_dim)
    assert pooled.is_contiguous()
    for head in range(heads):
        one = x[..., head * head_dim : (head + 1) * head_dim].movedim(-1, 1)
        torch.testing.assert_close(pooled[..., head, :], pool(one).movedim(1, -1))


@pytest.mark.parametrize("grid, kernel, stride", CASES)
def test_gradients_equal_those_of_the_convolution(grid, kernel, stride):
    # with gradients, clips are pooled frame by frame
    x = torch.randn(2, *grid, 12, generator=torch.Generator().manual_seed(0)).double()
    pool = build_pool(4, kernel, stride).double()
    results = []
    for ours in (True, False):
        x, pool.weight.grad = x.detach().requires_grad_(), None
        if ours:
            pooled = pool_heads(x, pool, 3)
        else:
            heads = x.unflatten(-1, (3, 4)).movedim(-2, 1).flatten(0, 1)  # (B * heads, *grid, D)
            pooled = pool(heads.movedim(-1, 1)).movedim(1, -1).unflatten(0, (2, 3)).movedim(1, -2)
        generator = torch.Generator().manual_seed(1)
        pooled.backward(torch.randn(pooled.shape, generator=generator).double())
        results.append((pooled.detach(), x.grad, pool.weight.grad))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("grid", [(8, 6), (7, 9), (1, 1)])
def test_skip_is_pooled_over_three_by_three(grid):
    x = torch.randn(2, *grid, 5, generator=torch.Generator().manual_seed(0))
    pooled = max_pool(x, (2, 2))
    height, width = grid
    assert pooled.shape == (2, (height + 1) // 2, (width + 1) // 2, 5)
    for i in range(pooled.shape[1]):
        for j in range(pooled.shape[2]):
            near = x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
            assert torch.equal(pooled[:, i, j], near.amax(dim=(1, 2)))


def test_skip_is_not_pooled_over_time():
    x = torch.randn(2, 3, 7, 5, 4, generator=torch.Generator().manual_seed(0))
    pooled = max_pool(x, (1, 2, 2))
    for frame in range(3):
        assert torch.equal(pooled[:, frame], max_pool(x[:, frame], (2, 2)))


@torch.no_grad()
def test_patches_of_images_and_clips():
    stem = PatchEmbed((7, 7), (4, 4), (3, 3), 3, 8)
    x = torch.randn(2, 3, 33, 70, generator=torch.Generator().manual_seed(0))
    tokens = stem(x)
    assert tokens.shape == (2, 9, 18, 8) and tokens.is_contiguous()
    expected = F.conv2d(x, stem.proj.weight, stem.proj.bias, stride=4, padding=3)
    torch.testing.assert_close(tokens, expected.permute(0, 2, 3, 1))
    clip_stem = PatchEmbed((3, 7, 7), (2, 4, 4), (1, 3, 3), 3, 8)
    assert clip_stem(torch.randn(1, 3, 7, 33, 70)).shape == (1, 4, 9, 18, 8)


@pytest.mark.parametrize("size", [(7, 3), (2, 1), (8, 8)], ids=str)
def test_gradients_of_strided_pooling_under_autocast(size):
    # torch's bfloat16 gradient is uninitialised memory where the output is one token wide
    pool = build_pool(64, (3, 3), (8, 8))
    x = torch.randn(2, *size, 64, generator=torch.Generator().manual_seed(0))
    expected = torch.autograd.grad(pool_heads(x, pool, 1).pow(2).sum(), pool.weight)[0]
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pool_heads(x, pool, 1)
    ours = torch.autograd.grad(pooled.float().pow(2).sum(), pool.weight)[0]
    torch.testing.assert_close(ours, expected, rtol=0.02, atol=0.02 * expected.abs().max().item())
