"""Checks of arguments: allowed values, and the message for all others."""

import math

import numpy as np
import pytest

from mvit_det import errors

CHECKS = {
    errors.check_count: ([1, 7, np.int64(2)], [0, -1, 1.0, "2", True, None], "a whole number of"),
    errors.check_positive: ([1e-9, 3], [0, -1, math.nan, math.inf, "1", None], "a number above 0"),
    errors.check_share: ([0, 0.5, np.float32(1)], [-0.1, 1.1, math.nan, "0"], "from 0 to 1"),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_numbers(check):
    allowed, refused, what = CHECKS[check]
    check("thing", **{f"n{k}": value for k, value in enumerate(allowed)})
    for value in refused:
        with pytest.raises(errors.UserError, match=f"^size={value!r} of thing must be {what}"):
            check("thing", ok=1, size=value)


def test_lists_are_shortened():
    assert errors.shorten_list([3, 1]) == "3, 1"
    assert errors.shorten_list(range(9), limit=2) == "0, 1 and 7 more"


def test_choices():
    errors.check_choice("thing", {"a": 1, "b": 2}, first="a", second="b")
    with pytest.raises(errors.UserError, match="^mode='c' of thing must be one of a, b[.]$"):
        errors.check_choice("thing", ("a", "b"), mode="c")
