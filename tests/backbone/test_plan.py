"""The plan of every variant against the tables of the paper and of the released code."""

import pytest
from networks import clip_plan, hwin_plan

from mvit_det.backbone import VARIANTS, multiscale_plan
from mvit_det.backbone.plan import divide

# Paper, Table 1: channels, blocks and heads per stage, then where stages begin and end.
TABLE_1 = {
    "T": ((96, 192, 384, 768), (1, 2, 5, 2), (1, 2, 4, 8), (1, 3, 8), (0, 2, 7, 9)),
    "S": ((96, 192, 384, 768), (1, 2, 11, 2), (1, 2, 4, 8), (1, 3, 14), (0, 2, 13, 15)),
    "B": ((96, 192, 384, 768), (2, 3, 16, 3), (1, 2, 4, 8), (2, 5, 21), (1, 4, 20, 23)),
    "L": ((144, 288, 576, 1152), (2, 6, 36, 4), (2, 4, 8, 16), (2, 8, 44), (1, 7, 43, 47)),
    "H": ((192, 384, 768, 1536), (4, 8, 60, 8), (3, 6, 12, 24), (4, 12, 72), (3, 11, 71, 79)),
}
every_variant = pytest.mark.parametrize("name", list(TABLE_1))


def kinds(name):
    """(index, spec, stage, is first of a later stage) for every block of the detection plan."""
    firsts = TABLE_1[name][3]
    for index, spec in enumerate(hwin_plan(VARIANTS[name])):
        yield index, spec, sum(index >= first for first in firsts), index in firsts


def small_arguments(**changes):
    arguments = dict(
        embed_dim=8, num_heads=2, last_block_indexes=(0, 2), grid=(8, 8), stride_kv=(4, 4)
    )
    return {**arguments, **changes}


def test_variants_are_those_of_table_1():
    assert list(VARIANTS) == list(TABLE_1)


@every_variant
def test_depth_width_and_heads_are_those_of_table_1(name):
    widths, depths, heads, firsts, lasts = TABLE_1[name]
    plan = hwin_plan(VARIANTS[name])
    assert VARIANTS[name].depth == len(plan) == sum(depths)
    assert VARIANTS[name].last_block_indexes == lasts
    assert tuple(i for i, spec in enumerate(plan) if spec.ends_stage) == lasts
    for index, spec, stage, _ in kinds(name):
        assert spec.stage == stage, index
        assert spec.dim_out == spec.dim_attention == widths[stage], index
        assert spec.num_heads == heads[stage], index
        assert spec.dim_attention % spec.num_heads == 0, index
    assert [plan[first].dim_in for first in firsts] == list(widths[:3])


@every_variant
def test_keys_are_pooled_adaptively_and_twice_as_far_in_two_full_blocks(name):
    lasts = TABLE_1[name][4]
    for index, spec, stage, _ in kinds(name):
        expected = (4, 2, 1, 1)[stage] * (2 if index in lasts[1:3] else 1)
        assert spec.stride_kv == (expected, expected), index


@every_variant
def test_windows_of_queries_and_keys(name):
    # (q, kv) windows in tokens: first block of the stage, other blocks
    expected = (((56, 14),), ((28, 28), (28, 14)), ((14, 28), (14, 14)), ((7, 14), (7, 7)))
    full = TABLE_1[name][4][1:]
    for index, spec, stage, first in kinds(name):
        if index in full:
            assert spec.window is None, index
            continue
        sides = [divide(spec.window, stride) for stride in (spec.stride_q, spec.stride_kv)]
        side_q, side_kv = expected[stage][0 if first else -1]
        assert sides == [(side_q, side_q), (side_kv, side_kv)], index


@every_variant
def test_nominal_grids_at_224_and_queries_pooled_where_a_stage_begins(name):
    for index, spec, stage, first in kinds(name):
        assert spec.stride_q == ((2, 2) if first else (1, 1)), index
        side = (56, 28, 14, 7)[stage]
        assert spec.grid == ((2 * side,) * 2 if first else (side, side)), index
        assert spec.grid_q == (side, side), index
        assert spec.grid_kv == divide(spec.grid, spec.stride_kv), index


# Recipes of the released models. Rows of a position table per kind of block:
# stage 1, stage 2 first, stage 2 others, stage 3 first, ..., stage 4 others.
@pytest.mark.parametrize(
    "make, grid, lengths",
    [
        pytest.param(hwin_plan, (56, 56), (111, 55, 55, 55, 27, 27, 13), id="image-224"),
        pytest.param(clip_plan, (8, 56, 56), (111, 55, 55, 27, 27, 27, 13), id="clip-224"),
        # 39 is halved to 19 and 19 to 9: nominal sizes are rounded down
        pytest.param(clip_plan, (20, 78, 78), (155, 77, 77, 37, 37, 37, 17), id="clip-312"),
    ],
)
def test_lengths_of_position_tables(make, grid, lengths):
    firsts = TABLE_1["L"][3]
    for index, spec in enumerate(make(VARIANTS["L"], grid=grid)):
        expected = lengths[max(2 * spec.stage - (index in firsts), 0)]
        for nq, nk in list(zip(spec.grid_q, spec.grid_kv))[-2:]:
            assert 2 * max(nq, nk) - 1 == expected, index
        if len(grid) == 3:
            assert spec.grid_q[0] == spec.grid_kv[0] == grid[0], index


@every_variant
def test_time_is_never_pooled(name):
    plan = clip_plan(VARIANTS[name], (8, 56, 56))
    firsts = TABLE_1[name][3]
    for index, spec in enumerate(plan):
        assert spec.stride_q == ((1, 2, 2) if index in firsts else (1, 1, 1)), index
        assert spec.stride_kv == ((1, 8, 8), (1, 4, 4), (1, 2, 2), (1, 1, 1))[spec.stage], index
        assert spec.grid[0] == 8, index


def test_clip_windows_and_coarse_keys_do_not_pool_time():
    plan = clip_plan(
        VARIANTS["T"], (8, 56, 56), window=(4, 56, 56), full_attention=(2, 9), coarse_kv=(2,)
    )
    assert [spec.window for spec in plan[:4]] == [(4, 56, 56)] * 2 + [None, (4, 28, 28)]
    assert plan[2].stride_kv == (1, 8, 8)
    assert plan[9].window is None


def test_key_stride_stops_at_one():
    plan = multiscale_plan(**small_arguments(last_block_indexes=(0, 1, 2), stride_kv=(2, 1)))
    assert [spec.stride_kv for spec in plan] == [(2, 1), (1, 1), (1, 1)]


@every_variant
def test_drop_path_grows_linearly_over_all_blocks(name):
    rates = [spec.drop_path for spec in hwin_plan(VARIANTS[name], drop_path_rate=0.6)]
    step = 0.6 / (len(rates) - 1)
    assert rates == pytest.approx([index * step for index in range(len(rates))])
    assert rates[0] == 0.0 and rates[-1] == pytest.approx(0.6)


def test_drop_path_of_a_single_block_is_zero():
    plan = multiscale_plan(**small_arguments(last_block_indexes=(0,), drop_path_rate=0.5))
    assert [spec.drop_path for spec in plan] == [0.0]


@every_variant
def test_expansion_in_the_mlp_widens_before_the_stage_begins(name):
    widths, _, heads, _, lasts = TABLE_1[name]
    for index, spec in enumerate(hwin_plan(VARIANTS[name], expand_in="mlp")):
        # attention keeps its width; heads double at the stage's first block all the same
        assert spec.dim_attention == spec.dim_in == widths[spec.stage], index
        assert spec.num_heads == heads[spec.stage], index
        widens = index in lasts[:3]
        assert spec.dim_out == widths[spec.stage + widens], index


@every_variant
def test_expansion_changes_nothing_but_widths(name):
    plans = [hwin_plan(VARIANTS[name], expand_in=mode) for mode in ("attention", "mlp")]
    for one, other in zip(*plans):
        for field in ("stage", "num_heads", "stride_q", "stride_kv", "window", "grid"):
            assert getattr(one, field) == getattr(other, field)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (dict(expand_in="both"), "expand_in='both' is not known"),
        (dict(last_block_indexes=(0, 2, 2)), r"\(0, 2, 2\) must be increasing"),
        (dict(last_block_indexes=(2, 1)), r"\(2, 1\) must be increasing"),
        (dict(last_block_indexes=(-1, 1)), r"\(-1, 1\) must be increasing"),
        (dict(last_block_indexes=()), r"\(\) must be increasing"),
        (dict(num_heads=3), "embed_dim=8 is not a multiple of num_heads=3"),
        (dict(window=(10, 10)), r"window \(10, 10\) of block 0 is not a multiple"),
        (dict(stride_kv=(2, 2, 2)), "one number per axis"),
        (dict(drop_path_rate=2), "drop_path_rate=2 must be from 0 to 1"),
    ],
)
def test_bad_arguments_are_named(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        multiscale_plan(**small_arguments(**change))


def test_divide_rounds_down_but_not_below_one():
    assert divide((39, 7, 3), (2, 8, 3)) == (19, 1, 1)
    with pytest.raises(ValueError):
        divide((56, 56), (2, 2, 2))
