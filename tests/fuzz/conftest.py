"""The fixture `fuzz`: a short search in the default tier, and a long one for a release.

`FUZZ_SEED=7 pytest -m release tests/fuzz` draws other inputs; the seed is printed with the counts.
"""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from fuzzing import outcome
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

SEED = int(os.environ.get("FUZZ_SEED", 0))
INPUTS = 2000  # of each reader, for a release


@pytest.fixture(
    params=[False, pytest.param(True, marks=pytest.mark.release)], ids=["short", "long"]
)
def fuzz(request, record_property):
    """Return a function that lets a reader read what a strategy draws, and counts the outcomes."""

    def run(
        valid: Any,
        inputs: SearchStrategy,
        read: Callable[[Any], Any],
        *known: Any,
        short: int = 40,
    ) -> None:
        """Fail with the smallest input that ends in anything but success or a sentence.

        Args:
            valid: an input that is accepted.
            inputs: strategy of inputs that are much like it.
            read: the reader of one input, as for `outcome`.
            known: inputs that once failed.
            short: number of inputs in the default tier.
        """
        counts: Counter[str] = Counter()

        def judge(drawn: Any) -> None:
            counts[outcome(read, drawn)] += 1

        assert outcome(read, valid) == "accepted"
        for each in known:
            judge(each)
        test = settings(
            max_examples=INPUTS if request.param else short,
            derandomize=not request.param,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )(given(inputs)(judge))
        (seed(SEED)(test) if request.param else test)()
        total = f"{counts.total()} inputs: {counts['accepted']} accepted, {counts['sentence']}"
        record_property("figures", f"{total} sentences (seed {SEED if request.param else 'fixed'})")
        assert counts["sentence"] or not request.param, counts

    return run
