"""Kinds of attention and position of the paper's ablations: against formulas and torchvision."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from networks import network, small_plan
from test_attention import HEAD_DIM, assert_near, values_and_gradients
from torch import nn
from torchvision.models.swin_transformer import shifted_window_attention

from mvit_det.backbone import BlockOptions, BlockSpec
from mvit_det.backbone.attention import MultiScaleAttention
from mvit_det.backbone.plan import set_attention, set_pooling
from mvit_det.backbone.position import relative_index, relative_tables

SPEC = BlockSpec(
    stage=0,
    ends_stage=False,
    dim_in=8,
    dim_attention=16,
    dim_out=16,
    num_heads=2,
    stride_q=(1, 1),
    stride_kv=(2, 2),
    window=None,
    grid=(8, 8),
    drop_path=0.0,
)
CLIP = dict(grid=(3, 4, 6), stride_q=(1, 1, 1), stride_kv=(1, 2, 2))
SWIN = dict(window=(4, 4), shifted=True)
# name: (grid of the input, changes of SPEC, options)
KINDS = {
    "joint": ((8, 8), {}, dict(rel_pos_tables=("hw",))),
    "joint, queries pooled, ragged": (
        (7, 9),
        dict(stride_q=(2, 2), stride_kv=(1, 1)),
        dict(rel_pos_tables=("hw",)),
    ),
    "rows only": ((7, 9), {}, dict(rel_pos_tables=("h",))),
    "time only": ((3, 4, 6), CLIP, dict(rel_pos_tables=("t",))),
    "space only": ((3, 4, 6), CLIP, dict(rel_pos_tables=("h", "w"))),
    "joint space and time": ((3, 5, 7), CLIP, dict(rel_pos_tables=("t", "hw"))),
    "joint time and rows": ((3, 4, 6), CLIP, dict(rel_pos_tables=("th", "w"))),
    "joint of all axes": ((3, 4, 6), CLIP, dict(rel_pos_tables=("thw",))),
    "keys": ((7, 9), {}, dict(rel_pos_on="k")),
    "values": ((7, 9), {}, dict(rel_pos_on="v")),
    "values of a clip": ((3, 4, 6), CLIP, dict(rel_pos_on="v", rel_pos_tables=("t", "hw"))),
    "queries, keys and values": ((7, 9), dict(stride_q=(2, 2)), dict(rel_pos_on="qkv")),
    "values in windows": ((7, 9), dict(window=(4, 4)), dict(rel_pos_on="qv")),
    "shifted": ((8, 12), SWIN, {}),
    "shifted, no position, ragged": ((7, 9), SWIN, dict(use_rel_pos=False)),
    "shifted, queries pooled, ragged": (
        (7, 10),
        dict(SWIN, stride_q=(2, 2), stride_kv=(1, 1)),
        dict(rel_pos_on="qkv"),
    ),
    "shifted along one axis": ((4, 9), SWIN, {}),
    "shifted clip": ((3, 5, 6), dict(CLIP, window=(2, 4, 4), shifted=True), {}),
    "no pooling": ((7, 9), dict(stride_kv=(1, 1), pooled=""), dict(residual_pooling=False)),
}


def build(name: str, **changes) -> tuple[MultiScaleAttention, torch.Tensor]:
    """Build the attention of one kind with random parameters, and its input."""
    grid, sizes, options = KINDS[name]
    torch.manual_seed(0)
    spec = replace(SPEC, **sizes, **changes)
    attention = MultiScaleAttention(spec, BlockOptions((3,) * len(grid), **options))
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    return attention, torch.randn(2, *grid, spec.dim_in)


def compare_forms(name: str, tolerance: float, dtype=torch.float64, class_token=None):
    attention, x = build(name)
    attention, results = attention.to(dtype), {}
    for attention.fused in (False, True):
        results[attention.fused] = values_and_gradients(attention, x.to(dtype), False, class_token)
    (plain, gradients), (fused, fused_gradients) = results.values()
    assert_near(fused, plain, tolerance)
    scale = max(gradient.norm().item() for gradient in gradients.values())
    for key, gradient in gradients.items():
        assert_near(fused_gradients[key], gradient, tolerance, 0.01 * scale)


@pytest.mark.parametrize("name", list(KINDS))
def test_fused_equals_plain(name):
    compare_forms(name, 1e-10)
    compare_forms(name, 1e-5, torch.float32)
    if "window" not in KINDS[name][1]:
        compare_forms(name, 1e-10, class_token=torch.randn(2, 1, SPEC.dim_in).double())


@pytest.mark.parametrize("name", ["shifted", "values in windows", "keys"])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_near_single(name, fused, dtype):
    attention, x = build(name)
    attention.fused = fused
    exact, _ = attention(x)
    with torch.autocast("cpu", dtype=dtype):
        rough, _ = attention(x)
    assert rough.dtype == dtype
    assert_near(rough, exact, 0.015)


def test_position_over_all_axes_takes_the_plain_form():
    # its code would be as wide as there are keys
    assert not build("joint")[0].fused
    assert not build("joint of all axes")[0].fused
    assert build("joint space and time")[0].fused


# ----------------------------------------------------------------------- against plain formulas


def embedding(attention, carrier, place_q, place_k, extent_q, extent_k):
    """Look up R of one pair of coordinates: the sum over the tables of q, k or v."""
    total = torch.zeros(HEAD_DIM).double()
    for table in attention.tables:
        if table.carrier == carrier:
            rows = getattr(attention, table.name)
            for axis in range(len(place_q))[table.axes]:
                index = relative_index(extent_q[axis], extent_k[axis])
                rows = rows[index[place_q[axis], place_k[axis]]]
            total = total + rows
    return total


@pytest.mark.parametrize(
    "name", ["joint", "time only", "space only", "joint of all axes", "keys", "values"]
)
@pytest.mark.parametrize("carriers", ["q", "k", "v", "qkv"])
@torch.no_grad()
def test_plain_form_is_the_equation(name, carriers, monkeypatch):
    # on the nominal grid, so that no table is resized; pair by pair
    _, sizes, options = KINDS[name]
    grid = sizes.get("grid", (4, 6))
    strides = dict(stride_kv=(1, 2, 2)[-len(grid) :], grid=grid)
    options = {**options, "rel_pos_on": carriers}
    monkeypatch.setitem(KINDS, name, (grid, {**sizes, **strides}, options))
    attention, x = build(name)
    attention, x = attention.double(), x[:1].double()
    q, k, v = attention.project_and_pool(x)
    extent_q, extent_k = q.shape[1:-2], k.shape[1:-2]
    places = [list(product(*map(range, extent))) for extent in (extent_q, extent_k)]
    z = torch.empty_like(q)
    for head, place_q in product(range(2), places[0]):
        query = q[(0, *place_q, head)]
        logits, values = [], []
        for place_k in places[1]:
            key, value = k[(0, *place_k, head)], v[(0, *place_k, head)]
            of_q, of_k, of_v = (
                embedding(attention, carrier, place_q, place_k, extent_q, extent_k)
                for carrier in "qkv"
            )
            logits.append(query @ key / HEAD_DIM**0.5 + query @ of_q + of_k @ key)
            values.append(value + of_v)
        weights = torch.stack(logits).softmax(0)
        z[(0, *place_q, head)] = weights @ torch.stack(values) + query
    expected = attention.proj(z.flatten(-2))
    for attention.fused in (False, True):
        torch.testing.assert_close(attention(x)[0], expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_class_token_has_no_position_in_the_values():
    attention, x = build("values")
    token = torch.randn(2, 1, SPEC.dim_in)
    _, with_position = attention(x, token)
    attention.rel_pos_v_h.zero_()
    attention.rel_pos_v_w.zero_()
    torch.testing.assert_close(attention(x, token)[1], with_position)


def test_a_joint_table_has_a_row_for_every_combination_of_distances():
    attention, _ = build("joint of all axes")
    assert attention.rel_pos_thw.shape == (5, 7, 11, HEAD_DIM)  # 3, 4 and 6 queries per axis


# --------------------------------------------------------------------------------- shifted windows


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    "grid, window", [((8, 12), (4, 4)), ((7, 10), (4, 4)), ((4, 9), (4, 2)), ((3, 5), (7, 7))]
)
@torch.no_grad()
def test_windows_are_those_of_torchvision(grid, window, fused, shifted):
    torch.manual_seed(0)
    divides = not any(n % w for n, w in zip(grid, window))
    spec = replace(SPEC, stride_kv=(1, 1), pooled="", window=window, shifted=shifted, dim_in=16)
    # torchvision pads before its linear layer, so that padded keys are its bias; ours are zero
    options = BlockOptions(
        (3, 3), use_rel_pos=False, residual_pooling=False, qkv_bias=divides, fused_attention=fused
    )
    attention = MultiScaleAttention(spec, options)
    x = torch.randn(2, *grid, 16)
    tokens = window[0] * window[1]
    expected = shifted_window_attention(
        x,
        attention.qkv.weight,
        attention.proj.weight,
        torch.zeros(1, 2, tokens, tokens),
        list(window),
        num_heads=2,
        shift_size=[w // 2 for w in window] if shifted else [0, 0],
        qkv_bias=attention.qkv.bias,
        proj_bias=attention.proj.bias,
    )
    torch.testing.assert_close(attention(x)[0], expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_pooled_queries_and_keys_are_shifted_together():
    # windows of 4 tokens of 8, keys pooled by 2: token 0 is with 6 and 7, apart from 2 to 5
    attention, x = build("shifted, no position, ragged", stride_kv=(2, 2))
    x = x.new_zeros(1, 8, 8, SPEC.dim_in).normal_()
    before = attention(x)[0]
    x[:, 4] += 1.0  # its convolution reaches one token further
    changed = (attention(x)[0] - before).abs().amax(dim=(0, 2, 3)) > 1e-6
    assert changed.tolist() == [False, False, True, True, True, True, False, False]


# ----------------------------------------------------------------------------------- of a network


@pytest.mark.parametrize(
    "kind, full, shifted",
    [
        ("full", range(9), ()),
        ("windows", (), ()),
        ("swin", (), (1, 3, 5, 7)),
        ("hwin", (3, 6, 8), ()),
    ],
)
def test_kinds_of_attention(kind, full, shifted):
    plan = set_attention(small_plan(window=None), kind, (8, 8))
    assert [i for i, spec in enumerate(plan) if spec.window is None] == list(full)
    assert [i for i, spec in enumerate(plan) if spec.shifted] == list(shifted)


def test_windows_of_each_stage():
    plan = small_plan(window=None, coarse_kv=())
    plan = set_attention(plan, "windows", [(8, 8), (4, 2), (4, 4), (1, 1)])
    # of a stage's first block, in tokens of the stage before
    expected = [(8, 8), (8, 8), (8, 4), (4, 2), (8, 8), (4, 4), (4, 4), (2, 2), (1, 1)]
    assert [spec.window for spec in plan] == expected


def test_without_full_q_pooling_only_strided_queries_have_parameters():
    model = network(set_pooling(small_plan(), "kv"))
    names = {name for name, _ in model.named_parameters()}
    for part in ("pool_q.weight", "norm_q.weight", "norm_q.bias"):
        assert [i for i in range(9) if f"blocks.{i}.attn.{part}" in names] == [2, 4, 7]
    everything = {name for name, _ in network(small_plan()).named_parameters()}
    assert {name for name in everything - names if "_q." not in name} == set()
    assert len(everything - names) == 6 * 3


@torch.no_grad()
def test_unpooled_queries_are_the_projection():
    attention, x = build("no pooling")
    q = attention.project_and_pool(x)[0]
    expected = nn.functional.linear(x, attention.qkv.weight, attention.qkv.bias)[..., :16]
    torch.testing.assert_close(q.flatten(-2), expected)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda: set_attention(small_plan(window=None), "local", (8, 8)), "use 'full', 'windows'"),
        (lambda: set_attention(small_plan(window=None), "swin", None), "set adaptive_window_size"),
        (lambda: set_attention(small_plan(window=None), "swin", [(8, 8)]), "one for each stage"),
        (lambda: small_plan(halving_blocks=(9,)), "must be from 0 to 8"),
        (lambda: set_pooling(small_plan(), "qq"), "full_pooling='qq' must have letters of 'qkv'"),
        (lambda: relative_tables(2, ("t",)), "neighbouring axes of 'hw'"),
        (lambda: relative_tables(3, ("tw", "h")), "neighbouring axes of 'thw'"),
        (lambda: relative_tables(2, ("hw", "h")), "each axis in at most one table"),
        (lambda: relative_tables(2, ()), "neighbouring axes of 'hw'"),
        (lambda: relative_tables(2, None, "kq2"), "rel_pos_on='kq2' must have letters"),
        (lambda: relative_tables(2, None, ""), "rel_pos_on='' must have letters"),
    ],
)
def test_unknown_words_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        change()
