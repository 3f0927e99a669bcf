"""Stochastic depth: its statistics, its rates, and how a block uses it."""

import pytest
import torch
from networks import network, small_plan

from mvit_det.backbone import BlockOptions
from mvit_det.backbone.block import MultiScaleBlock
from mvit_det.backbone.layers import DropPath
from mvit_det.kernels.cpu import map_chunks


def test_drop_path_zeroes_whole_samples_and_keeps_the_mean():
    drop = DropPath(0.3).train()
    torch.manual_seed(0)
    x = torch.full((20_000, 2, 3), 2.0)
    (out,) = drop([x])
    per_sample = out.flatten(1)
    assert torch.equal(per_sample, per_sample[:, :1].expand_as(per_sample))
    kept = per_sample[:, 0] != 0
    torch.testing.assert_close(per_sample[kept][:, 0], torch.full((int(kept.sum()),), 2.0 / 0.7))
    # standard deviation of the share is sqrt(0.3 * 0.7 / 20000) = 0.0032
    assert kept.double().mean().item() == pytest.approx(0.7, abs=0.013)
    assert out.mean().item() == pytest.approx(2.0, abs=0.04)


def test_drop_path_at_the_limits():
    dropped = DropPath(1.0).train()([torch.randn(4, 2).bfloat16()])[0]
    assert not dropped.any() and dropped.dtype == torch.bfloat16
    parts = [torch.randn(4, 2)]
    assert DropPath(0.9).eval()(parts) is parts
    assert DropPath(0.0).train()(parts) is parts


def test_drop_path_drops_the_same_samples_of_grid_and_class_token():
    torch.manual_seed(0)
    grid, class_token = DropPath(0.5).train()([torch.ones(100, 2, 2, 3), torch.ones(100, 1, 3)])
    kept = grid.flatten(1).any(dim=1)
    assert torch.equal(kept, class_token.flatten(1).any(dim=1))
    assert 30 < int(kept.sum()) < 70


def test_blocks_get_the_rates_of_the_plan():
    model = network(small_plan(drop_path_rate=0.4))
    # 9 blocks have 8 equal steps from 0 to 0.4
    rates = [block.drop_path.rate for block in model.blocks]
    assert rates == pytest.approx([0.05 * index for index in range(9)])


def test_both_branches_drop_independently():
    spec = small_plan(drop_path_rate=0.5)[-1]
    block = MultiScaleBlock(spec, BlockOptions((3, 3))).train()
    x = torch.randn(1, 2, 2, 128).expand(400, -1, -1, -1)
    torch.manual_seed(0)
    with torch.no_grad():
        out = block(x)[0].flatten(1)
    # four outcomes: neither branch, either one, both
    outcomes = torch.unique((out * 1e4).round(), dim=0)
    assert len(outcomes) == 4
    untouched = (out == x.flatten(1)).all(dim=1).double().mean().item()
    assert untouched == pytest.approx(0.25, abs=0.1)


def test_a_constructor_must_have_every_option():
    with pytest.raises(KeyError, match="norm_layer"):
        BlockOptions.from_arguments({"mlp_ratio": 2.0}, pool_kernel=(3, 3))


def test_inference_in_chunks_equals_whole_tensors_bit_for_bit():
    torch.manual_seed(0)
    model = network(small_plan())
    x = torch.randn(2, 3, 200, 204)  # 2 x 50 x 51 tokens: more than one chunk
    whole = model(x)
    assert all(feature.requires_grad for feature in whole.values())
    with torch.no_grad():
        chunked = model(x)
    assert all(torch.equal(whole[name], chunked[name]) for name in whole)


@torch.no_grad()
def test_chunks_of_few_tokens_and_of_none():
    sizes = []

    def double(tokens):
        sizes.append(tokens.shape)
        return 2 * tokens

    x = torch.arange(6.0).view(3, 1, 2)
    assert torch.equal(map_chunks(double, x, tokens=2), 2 * x)
    assert sizes == [(2, 2), (1, 2)]
    assert map_chunks(lambda tokens: tokens[..., :1], torch.empty(0, 4, 2)).shape == (0, 4, 1)
