"""Relative position: index rule and resizing, by hand; absolute position: resizing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mvit_det.backbone.position import (
    absolute_position,
    relative_index,
    relative_position,
    resize_table,
)


@pytest.mark.parametrize(
    "nq, nk, rows",
    [
        (1, 1, [[0]]),
        (3, 3, [[2, 1, 0], [3, 2, 1], [4, 3, 2]]),
        # queries lie twice as far apart as keys
        (2, 4, [[3, 2, 1, 0], [5, 4, 3, 2]]),
        # keys lie twice as far apart as queries
        (4, 2, [[2, 0], [3, 1], [4, 2], [5, 3]]),
        # 1.5 times: 0, 1, 2 against 0, 1.5, shifted by 1.5, then truncated
        (3, 2, [[1, 0], [2, 1], [3, 2]]),
        # 0, 1.5 against 0, 1, 2, shifted by 2
        (2, 3, [[2, 1, 0], [3, 2, 1]]),
        (1, 3, [[2, 1, 0]]),
        (3, 1, [[0], [1], [2]]),
    ],
)
def test_index_of_small_cases(nq, nk, rows):
    assert relative_index(nq, nk).tolist() == rows


@pytest.mark.parametrize("nq, nk", [(39, 20), (20, 39), (7, 5), (64, 25), (334, 84), (19, 39)])
def test_index_is_computed_in_single_precision(nq, nk):
    one = np.float32
    stretch_q, stretch_k = one(max(nk / nq, 1)), one(max(nq / nk, 1))
    shift = one((nk - 1) * max(nq / nk, 1))
    expected = [
        [int((one(i) * stretch_q - one(j) * stretch_k) + shift) for j in range(nk)]
        for i in range(nq)
    ]
    assert relative_index(nq, nk).tolist() == expected


def resize_by_hand(table: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation between the centres of rows, constant beyond the outer ones."""
    rows = []
    for place in range(length):
        source = (place + 0.5) * len(table) / length - 0.5
        source = min(max(source, 0.0), len(table) - 1.0)
        low = int(source)
        high = min(low + 1, len(table) - 1)
        rows.append((1 - (source - low)) * table[low] + (source - low) * table[high])
    return np.stack(rows)


@pytest.mark.parametrize("old, new", [(13, 27), (27, 13), (111, 119), (5, 1), (1, 5), (37, 39)])
def test_table_is_resized_linearly(old, new):
    table = torch.randn(old, 6, generator=torch.Generator().manual_seed(old))
    expected = resize_by_hand(table.double().numpy(), new)
    # single precision gives a position near row 100 to 1e-5, and rows differ by about 1
    np.testing.assert_allclose(resize_table(table, new).numpy(), expected, atol=5e-5)


def test_table_of_the_right_length_is_unchanged():
    table = torch.randn(7, 3)
    assert resize_table(table, 7) is table


def test_half_precision_table_keeps_its_type():
    table = torch.randn(7, 3).bfloat16()
    resized = resize_table(table, 9)
    assert resized.dtype == torch.bfloat16
    torch.testing.assert_close(resized, resize_table(table.float(), 9).bfloat16())


@pytest.mark.parametrize("length, nq, nk", [(9, 5, 3), (9, 4, 6), (5, 5, 3), (1, 2, 2)])
def test_relative_position_picks_resized_rows(length, nq, nk):
    table = torch.randn(length, 4, generator=torch.Generator().manual_seed(0))
    resized = resize_by_hand(table.double().numpy(), 2 * max(nq, nk) - 1)
    position = relative_position(table, (nq,), (nk,))
    assert position.shape == (nq, nk, 4)
    index = relative_index(nq, nk)
    for i in range(nq):
        for j in range(nk):
            np.testing.assert_allclose(position[i, j].numpy(), resized[index[i, j]], atol=1e-5)


@pytest.mark.parametrize("length, nq, nk", [(9, 5, 3), (5, 4, 6), (12, 3, 3)])
def test_relative_position_has_the_right_gradient(length, nq, nk):
    table = torch.randn(length, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: relative_position(t, (nq,), (nk,)), table)


def test_double_precision_is_kept():
    table = torch.randn(37, 2, dtype=torch.float64)
    expected = resize_by_hand(table.numpy(), 119)
    np.testing.assert_allclose(resize_table(table, 119).numpy(), expected, rtol=0, atol=1e-12)


def absolute_table(side: int) -> torch.Tensor:
    return torch.randn(1, side * side, 5, generator=torch.Generator().manual_seed(1))


def test_absolute_position_of_the_nominal_grid_is_not_resized():
    table = absolute_table(4)
    position = absolute_position(table, (4, 4), (4, 4))
    assert position.shape == (1, 4, 4, 5)
    assert torch.equal(position.flatten(1, 2), table)


@pytest.mark.parametrize("nominal", [(4, 4), (2, 8)])
@pytest.mark.parametrize("grid", [(6, 9), (4, 5), (3, 2), (1, 1)])
def test_absolute_position_is_resized_bicubically(nominal, grid):
    table = absolute_table(4)
    position = absolute_position(table, nominal, grid)
    assert position.shape == (1, *grid, 5)
    for channel in range(5):
        map_ = table[0, :, channel].reshape(1, 1, *nominal)
        expected = F.interpolate(map_, size=grid, mode="bicubic", align_corners=False)[0, 0]
        torch.testing.assert_close(position[0, :, :, channel], expected)
