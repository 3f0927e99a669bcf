"""The backbone on clips: any length, height and width, every switch, checkpointing."""

import pytest
import torch
from golden.make_backbone import fill_parameters
from networks import SMALL, clip_plan, network

from mvit_det.backbone.position import absolute_position

# Frames, height, width; a token covers two frames.
SIZES = [(1, 64, 64), (2, 33, 70), (3, 64, 64), (5, 96, 40), (7, 50, 35), (16, 32, 32), (4, 5, 3)]
SWITCHES = {
    "as released": {},
    "expansion in the MLP": dict(expand_in="mlp"),
    "no class token": dict(class_token=False),
    "no position": dict(use_rel_pos=False),
    "no residual pooling": dict(residual_pooling=False),
    "keys pooled in time": dict(stride_kv=(2, 8, 8)),
    "long kernel": dict(pool_kernel=(5, 3, 3)),
}


def build(switch="as released", **options):
    options = {**dict(class_token=True, out_features=()), **SWITCHES[switch], **options}
    plan_options = {
        key: options.pop(key)
        for key in ("expand_in", "stride_kv", "drop_path_rate")
        if key in options
    }
    torch.manual_seed(0)
    return fill_parameters(network(clip_plan(SMALL, (4, 16, 16), **plan_options), **options))


def clips(size, batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(3))


def flattened(model, x):
    """Concatenate what `encode` returns: (B, tokens, C)."""
    tokens, class_token = model.encode(x)
    tokens = tokens.flatten(1, -2)
    return tokens if class_token is None else torch.cat([class_token, tokens], dim=1)


@pytest.mark.parametrize(
    "size, switch",
    [(size, "as released") for size in SIZES] + [((7, 50, 35), x) for x in list(SWITCHES)[1:]],
)
def test_forms_agree_at_any_size(size, switch):
    model, x = build(switch).double(), clips(size).double()
    with_graph = flattened(model, x).detach()  # training pools in another way
    frames, height, width = size
    grid = [-(-frames // 2), *(-(-n // 32) for n in (height, width))]
    assert with_graph.shape[1] == grid[0] * grid[1] * grid[2] + (model.cls_token is not None)
    with torch.no_grad():
        torch.testing.assert_close(flattened(model, x), with_graph, rtol=1e-9, atol=1e-9)
        for block in model.blocks:
            block.attn.fused = False
        torch.testing.assert_close(flattened(model, x), with_graph, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_the_order_of_frames_matters():
    model, x = build(), clips((8, 64, 64))
    assert not torch.allclose(model.encode(x.flip(2))[1], model.encode(x)[1], atol=1e-2)


def train(model, x):
    """Run one step; return the output, gradients by name, and the state of the random stream."""
    torch.manual_seed(5)  # of stochastic depth
    model.train()
    out = flattened(model, x)
    after = torch.get_rng_state()
    generator = torch.Generator().manual_seed(4)
    out.backward(torch.randn(out.shape, generator=generator, dtype=out.dtype))
    assert torch.equal(torch.get_rng_state(), after)
    return out.detach(), {name: p.grad for name, p in model.named_parameters()}, after


@pytest.mark.parametrize("value", [True, "branches"])
@pytest.mark.parametrize("switch", ["as released", "no class token"])
def test_checkpointing_changes_neither_values_nor_the_random_stream(switch, value):
    x = clips((5, 50, 35), batch=3)
    out, gradients, after = train(build(switch, drop_path_rate=0.5), x)
    checkpointed = build(switch, drop_path_rate=0.5, activation_checkpointing=value)
    out_2, gradients_2, after_2 = train(checkpointed, x)
    assert torch.equal(out_2, out) and torch.equal(after_2, after)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_2[name], gradient, rtol=1e-6, atol=1e-6, msg=name)
    # stochastic depth is active
    assert not torch.equal(out, train(build(switch), x)[0])


@torch.no_grad()
def test_absolute_position_is_one_in_space_and_one_in_time():
    options = dict(pos_embed_grid=(4, 4, 4), pos_embed_has_class_row=True, class_token=True)
    with_position, without = build(**options), build(class_token=True)
    spatial, temporal = with_position.pos_embed_spatial, with_position.pos_embed_temporal
    assert (spatial.shape, temporal.shape) == ((1, 16, 16), (1, 4, 16))
    x = clips((8, 16, 16))
    expected, token = without.embed(x)
    in_space = spatial.view(1, 1, 4, 4, 16)
    expected = expected + in_space + temporal.view(1, 4, 1, 1, 16)
    tokens, class_token = with_position.embed(x)
    torch.testing.assert_close(tokens, expected)
    torch.testing.assert_close(class_token, token + with_position.pos_embed_class)
    # of another size
    temporal.zero_()
    longer, _ = with_position.embed(clips((12, 24, 16)))
    resized = absolute_position(spatial, (4, 4), (6, 4))[:, None]
    torch.testing.assert_close(longer, without.embed(clips((12, 24, 16)))[0] + resized)
