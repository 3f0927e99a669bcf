"""The two forms of attention: plain against the paper's equations, fused against plain."""

import math
from itertools import product

import pytest
import torch
from torch import nn

from mvit_det.backbone import BlockOptions, BlockSpec
from mvit_det.backbone.attention import MultiScaleAttention, spare_columns
from mvit_det.backbone.position import relative_index

# name: (grid of the input, nominal grid, window, q stride, kv stride, heads, relative position)
CASES = {
    "full": ((6, 8), (6, 8), None, (1, 1), (1, 1), 1, True),
    "full, no position": ((6, 8), (6, 8), None, (1, 1), (2, 2), 2, False),
    "full, keys pooled, ragged": ((7, 9), (8, 8), None, (1, 1), (2, 2), 2, True),
    "full, queries pooled, ragged": ((7, 9), (8, 8), None, (2, 2), (1, 1), 3, True),
    "full, keys pooled by 4": ((13, 6), (16, 16), None, (1, 1), (4, 4), 1, True),
    "full, one token": ((1, 1), (8, 8), None, (2, 2), (2, 2), 2, True),
    "windows": ((8, 12), (8, 8), (4, 4), (1, 1), (2, 2), 2, True),
    "windows, no position": ((8, 12), (8, 8), (4, 4), (1, 1), (2, 2), 2, False),
    "windows, ragged": ((7, 10), (8, 8), (4, 4), (1, 1), (2, 2), 3, True),
    "windows, queries pooled": ((7, 10), (8, 8), (4, 4), (2, 2), (1, 1), 2, True),
    "windows, larger than the grid": ((3, 2), (8, 8), (8, 8), (1, 1), (2, 2), 1, True),
    "clip": ((3, 4, 6), (4, 8, 8), None, (1, 1, 1), (1, 2, 2), 2, True),
    "clip, queries pooled, ragged": ((3, 5, 7), (4, 8, 8), None, (1, 2, 2), (1, 1, 1), 2, True),
    # a 3-D convolution's weight gradient would be wrong here under autocast, on a CPU
    "clip, two tokens of time": ((2, 4, 6), (4, 8, 8), None, (1, 1, 1), (1, 2, 2), 2, True),
    "clip, no position": ((3, 4, 4), (3, 4, 4), None, (1, 1, 1), (1, 2, 2), 1, False),
    "clip, windows, ragged": ((3, 5, 6), (4, 8, 8), (2, 4, 4), (1, 1, 1), (1, 2, 2), 2, True),
}
every_case = pytest.mark.parametrize("name", list(CASES))
HEAD_DIM = 8


def build(name: str, **options) -> MultiScaleAttention:
    """Build the attention of one case, twice as wide as its input, with random parameters."""
    _, nominal, window, stride_q, stride_kv, heads, use_rel_pos = CASES[name]
    spec = BlockSpec(
        stage=0,
        ends_stage=False,
        dim_in=heads * HEAD_DIM // 2,
        dim_attention=heads * HEAD_DIM,
        dim_out=heads * HEAD_DIM,
        num_heads=heads,
        stride_q=stride_q,
        stride_kv=stride_kv,
        window=window,
        grid=nominal,
        drop_path=0.0,
    )
    torch.manual_seed(0)
    shared = BlockOptions((3,) * len(nominal), **dict(use_rel_pos=use_rel_pos) | options)
    attention = MultiScaleAttention(spec, shared)
    for parameter in attention.parameters():
        # far from uniform attention, and biases and norms matter
        nn.init.normal_(parameter, std=0.5)
    return attention


def table_names(attention: MultiScaleAttention) -> list[str]:
    return [table.name for table in attention.tables]


def tokens(name: str, batch: int = 2) -> torch.Tensor:
    grid, heads = CASES[name][0], CASES[name][5]
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, *grid, heads * HEAD_DIM // 2, generator=generator)


def class_token_of(name: str, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, 1, CASES[name][5] * HEAD_DIM // 2, generator=generator)


def values_and_gradients(attention, x, autocast=False, class_token=None):
    """Compute the output, and the gradients of all parameters and inputs by name.

    The output of a class token, if any, follows that of the flattened grid.
    """
    attention.zero_grad(set_to_none=True)
    x = x.detach().clone().requires_grad_()
    if class_token is not None:
        class_token = class_token.detach().clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out, class_out = attention(x, class_token)
    if class_token is not None:
        out = torch.cat([out.flatten(1, -2), class_out], dim=1)
    generator = torch.Generator().manual_seed(2)
    cotangent = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    out.backward(cotangent.to(out.dtype))
    gradients = {name: parameter.grad for name, parameter in attention.named_parameters()}
    if class_token is not None:
        gradients["class token"] = class_token.grad
    return out.detach(), {**gradients, "input": x.grad}


def assert_near(actual: torch.Tensor, expected: torch.Tensor, tolerance: float, scale: float = 0.0):
    """Compare relative to the expected norm, or to ``scale`` where that is larger."""
    assert actual.shape == expected.shape
    difference = (actual.double() - expected.double()).norm().item()
    assert difference <= tolerance * max(expected.double().norm().item(), scale)


def compare_forms(name, dtype, tolerance, class_token=None):
    x = tokens(name).to(dtype)
    attention = build(name).to(dtype)
    attention.fused = False
    plain, plain_gradients = values_and_gradients(attention, x, class_token=class_token)
    attention.fused = True
    fused, fused_gradients = values_and_gradients(attention, x, class_token=class_token)
    assert fused.dtype == dtype
    assert_near(fused, plain, tolerance)
    # A bias that all keys share leaves the softmax unchanged: without padding its gradient is zero.
    scale = max(gradient.norm().item() for gradient in plain_gradients.values())
    for key, gradient in plain_gradients.items():
        assert_near(fused_gradients[key], gradient, tolerance, 0.01 * scale)


@every_case
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_fused_equals_plain(name, dtype, tolerance):
    compare_forms(name, dtype, tolerance)
    if "windows" not in name:
        compare_forms(name, dtype, tolerance, class_token=class_token_of(name).to(dtype))


@pytest.mark.parametrize("name", ["clip", "windows, ragged"])
def test_spare_columns_change_nothing(name, monkeypatch):
    # as on a GPU
    monkeypatch.setattr("mvit_det.backbone.attention.spare_columns", lambda width, _: 7)
    class_token = None if "windows" in name else class_token_of(name).double()
    compare_forms(name, torch.float64, 1e-10, class_token=class_token)


def test_spare_columns_are_for_gpus():
    widths = {device: spare_columns(118, torch.device(device)) for device in ("cpu", "cuda")}
    assert widths == {"cpu": 0, "cuda": 2}
    assert spare_columns(120, torch.device("cuda")) == 0


@pytest.mark.parametrize("name", ["full, keys pooled, ragged", "full, no position"])
@torch.no_grad()
def test_class_token_attends_without_position_and_residual_pooling(name):
    attention = build(name, fused_attention=False).double()
    x, class_token = tokens(name).double(), class_token_of(name).double()
    q, k, v = (tensor.flatten(1, -3) for tensor in attention.project_and_pool(x))
    # by hand, from the parameters: projected and normalised, but not pooled
    rows = nn.functional.linear(class_token, attention.qkv.weight, attention.qkv.bias)
    class_qkv = [
        getattr(attention, f"norm_{part}")(row.unflatten(-1, (attention.num_heads, HEAD_DIM)))
        for part, row in zip("qkv", rows.chunk(3, dim=-1))
    ]
    keys, values = (torch.cat(pair, dim=1) for pair in ((class_qkv[1], k), (class_qkv[2], v)))
    logits = torch.einsum("bqhd,bkhd->bhqk", class_qkv[0], keys) / math.sqrt(HEAD_DIM)
    mean = torch.einsum("bhqk,bkhd->bqhd", logits.softmax(dim=-1), values)
    out, class_out = attention(x, class_token)
    torch.testing.assert_close(class_out, attention.proj(mean.flatten(-2)), rtol=1e-9, atol=1e-9)
    # Without position, it is a key like any other for all other queries.
    if not attention.tables:
        logits = torch.einsum("bqhd,bkhd->bhqk", q, keys) / math.sqrt(HEAD_DIM)
        mean = torch.einsum("bhqk,bkhd->bqhd", logits.softmax(dim=-1), values)
        expected = attention.proj((mean + q).flatten(-2))
        torch.testing.assert_close(out.flatten(1, -2), expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_class_key_has_no_position():
    # Position makes the logits of all keys of the grid very negative, but not the class token's.
    attention = build("full", fused_attention=False).double()
    x, class_token = tokens("full").double(), class_token_of("full").double()
    q = attention.project_and_pool(x)[0]
    direction = torch.randn(HEAD_DIM).double()
    for table in (attention.rel_pos_h, attention.rel_pos_w):
        table.copy_(1e6 * direction)
    value = attention.project_class_token(class_token)[2].transpose(1, 2)  # (B, 1, heads, D)
    repelled = (q @ direction < 0).flatten(1)  # there is one head
    out = attention(x, class_token)[0].flatten(1, -2)
    expected = attention.proj((value[:, None] + q).flatten(-2)).flatten(1, -2)
    assert 10 < int(repelled.sum()) < repelled.numel() - 10
    torch.testing.assert_close(out[repelled], expected[repelled])
    assert not torch.allclose(out[~repelled], expected[~repelled], atol=0.1)


# Not one token: for it some CPU builds of torch compute the bfloat16 weight gradient of a depthwise
# convolution from uninitialised memory.
@pytest.mark.parametrize("name", [name for name in CASES if name != "full, one token"])
@pytest.mark.parametrize("fused", [True, False])
def test_autocast_is_near_single_precision(name, fused):
    x, attention = tokens(name), build(name, fused_attention=fused)
    exact, exact_gradients = values_and_gradients(attention, x)
    rough, rough_gradients = values_and_gradients(attention, x, autocast=True)
    assert rough.dtype == torch.bfloat16
    # one rounding to bfloat16 is 2**-8 = 0.004
    assert_near(rough, exact, 0.015)
    scale = max(gradient.norm().item() for gradient in exact_gradients.values())
    for key, gradient in exact_gradients.items():
        assert rough_gradients[key].dtype == torch.float32  # parameters and input keep their type
        assert_near(rough_gradients[key], gradient, 0.06, 0.1 * scale)


@pytest.mark.parametrize("name", ["windows", "clip, no position"])
def test_autocast_lets_attention_run_in_its_precision(name):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = build(name).project_and_pool(tokens(name))
    assert [tensor.dtype for tensor in pooled] == [torch.bfloat16] * 3


def attend_by_hand(attention, q, k, v, extent_q, extent_k):
    """Attend in one group and head, Eq. 2-4 pair by pair: q (Nq, D), k, v (Nk, D) -> (Nq, D)."""
    tables = [getattr(attention, name) for name in table_names(attention)]
    rows = [relative_index(nq, nk).tolist() for nq, nk in zip(extent_q, extent_k)]
    places_q = list(product(*map(range, extent_q)))
    places_k = list(product(*map(range, extent_k)))
    out = []
    for i, place_q in enumerate(places_q):
        logits = []
        for j, place_k in enumerate(places_k):
            position = torch.zeros_like(q[0])
            for table, row, pq, pk in zip(tables, rows, place_q, place_k):
                position = position + table[row[pq][pk]]
            # the first term is scaled, the second is not
            logits.append(q[i] @ k[j] / math.sqrt(HEAD_DIM) + q[i] @ position)
        weights = torch.stack(logits).exp()
        out.append((weights / weights.sum()) @ v)
    return torch.stack(out)


@pytest.mark.parametrize(
    "name, nominal",
    [
        ("full, keys pooled, ragged", (7, 9)),
        ("full, queries pooled, ragged", (7, 9)),
        ("full, no position", (6, 8)),
        ("clip, queries pooled, ragged", (3, 5, 7)),
    ],
)
@torch.no_grad()
def test_plain_form_is_the_equation(name, nominal, monkeypatch):
    # nominal grid = real grid, so that no table is resized
    monkeypatch.setitem(CASES, name, (CASES[name][0], nominal, *CASES[name][2:]))
    attention = build(name, fused_attention=False).double()
    for axis, rel_pos in enumerate(table_names(attention)):
        longest = -(-nominal[axis] // min(CASES[name][3][axis], CASES[name][4][axis]))
        setattr(attention, rel_pos, nn.Parameter(torch.randn(2 * longest - 1, HEAD_DIM).double()))
    x = tokens(name, batch=1).double()
    q, k, v = attention.project_and_pool(x)
    grid_q, grid_kv = q.shape[1:-2], k.shape[1:-2]
    z = torch.empty_like(q)
    for head in range(attention.num_heads):
        flat = [tensor[0, ..., head, :].reshape(-1, HEAD_DIM) for tensor in (q, k, v)]
        result = attend_by_hand(attention, *flat, grid_q, grid_kv)
        z[0, ..., head, :] = result.reshape(*grid_q, HEAD_DIM) + q[0, ..., head, :]
    # the channels are head by head
    expected = attention.proj(z.flatten(-2))
    torch.testing.assert_close(attention(x)[0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fused", [True, False])
@torch.no_grad()
def test_padded_keys_are_zero_vectors_with_weight(fused):
    # grid (3, 2) in a window of 8 by 8: keys (2, 1) of (4, 4), the others are padding
    name = "windows, larger than the grid"
    attention = build(name, fused_attention=fused).double()
    x = tokens(name, batch=1).double()
    q, k, v = (tensor[0, :, :, 0] for tensor in attention.project_and_pool(x))
    keys, values = torch.zeros(2, 4, 4, HEAD_DIM).double()
    keys[:2, :1], values[:2, :1] = k, v
    queries = torch.zeros(8, 8, HEAD_DIM).double()
    queries[:3, :2] = q
    flat = [tensor.reshape(-1, HEAD_DIM) for tensor in (queries, keys, values)]
    result = attend_by_hand(attention, *flat, (8, 8), (4, 4)).reshape(8, 8, HEAD_DIM)
    expected = attention.proj(result[:3, :2] + q)
    torch.testing.assert_close(attention(x)[0][0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fused", [True, False])
@torch.no_grad()
def test_residual_pooling_adds_the_pooled_query(fused):
    name = "windows, queries pooled"
    with_residual, without = build(name, fused_attention=fused), build(name, fused_attention=fused)
    without.residual_pooling = False
    x = tokens(name)
    q = with_residual.project_and_pool(x)[0]
    difference = with_residual(x)[0] - without(x)[0]
    expected = nn.functional.linear(q.flatten(-2), with_residual.proj.weight)
    torch.testing.assert_close(difference, expected, rtol=1e-4, atol=1e-4)


def test_switches_reach_the_parameters():
    names = {name for name, _ in build("full").named_parameters()}
    assert {"qkv.bias", "rel_pos_h", "rel_pos_w"} <= names
    assert names - {name for name, _ in build("full", qkv_bias=False).named_parameters()} == {
        "qkv.bias"
    }
    clip_names = {name for name, _ in build("clip").named_parameters()}
    assert clip_names - names == {"rel_pos_t"}
    assert not [name for name, _ in build("clip, no position").named_parameters() if "rel" in name]


@pytest.mark.parametrize("zero_init", [True, False])
def test_position_tables_start_at_zero_or_at_random(zero_init):
    spec = BlockSpec(0, False, 8, 8, 8, 1, (1, 1), (1, 1), None, (56, 56), 0.0)
    attention = MultiScaleAttention(spec, BlockOptions((3, 3), rel_pos_zero_init=zero_init))
    for table in (attention.rel_pos_h, attention.rel_pos_w):
        assert table.shape == (111, 8)
        assert table.std().item() == pytest.approx(0.0 if zero_init else 0.02, rel=0.2)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    "name, grid", [("full", (24, 24)), ("windows", (48, 48)), ("clip", (4, 16, 16))]
)
def test_fused_form_keeps_no_attention_map_for_the_backward_pass(name, grid, autocast, monkeypatch):
    window = (24, 24) if name == "windows" else None
    # keys that a query attends to
    stride = CASES[name][4]
    tokens_q = math.prod(grid)
    keys = math.prod(n // s for n, s in zip(window or grid, stride))
    monkeypatch.setitem(CASES, name, (grid, grid, window, *CASES[name][3:]))
    attention, x = build(name), tokens(name, batch=1).requires_grad_()

    def saved():
        sizes = {}

        def pack(tensor):
            # one entry per memory block, so that views are not counted twice
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = (storage.nbytes(), tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                out, _ = attention(x)
        out.sum().backward()
        return sum(size for size, _ in sizes.values()), max(numel for _, numel in sizes.values())

    attention.fused = False
    plain_bytes, plain_largest = saved()
    attention.fused = True
    fused_bytes, fused_largest = saved()
    map_size = tokens_q * keys
    assert plain_largest >= map_size, "the plain form must keep its attention map"
    assert fused_largest < map_size / 2
    assert fused_bytes < plain_bytes / 1.5
