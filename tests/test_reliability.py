"""docs/reliability.md: its rows have tests, and its tests exist; results are counted rightly."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MADE = runpy.run_path(str(ROOT / "docs/reference/make_reliability.py"))


def without_results(page: str) -> str:
    return re.sub(
        r"^((?:\|[^|\n]*){3})\|[^|\n]*\|[^|\n]*(?=\|[^|\n]*\|$)", r"\1| | ", page, flags=re.M
    )


def test_every_row_has_tests_and_the_page_names_those_that_exist():
    """`docs/reference/make_reliability.py` writes the page again."""
    assert set(MADE["tests"]()) == set(MADE["ROWS"]) - MADE["NOT_YET"]
    empty = MADE["page"]({"embedded": {}, "real": {}})
    assert without_results(MADE["PAGE"].read_text()) == without_results(empty)


CASE = '<testcase classname="tests.test_a" name="test_row_0{}_{}">{}</testcase>'


@pytest.mark.parametrize(
    "cases, expected",
    [
        (["", ""], "passes"),
        (["", "<skipped/>"], "passes"),
        (["<skipped/>", "<skipped/>"], "not run"),
        (["", "<failure/>"], "**fails**"),
        (["<error/>", "<skipped/>"], "**fails**"),
        ([""], "not run"),  # the other test of the row is not among the results
    ],
)
def test_a_row_passes_if_all_its_tests_do_and_one_has_run(cases, expected, tmp_path):
    text = "".join(CASE.format(7, f"{'ab'[k]}[x-{k}]", case) for k, case in enumerate(cases))
    (tmp_path / "a.xml").write_text(f"<testsuites><testsuite>{text}</testsuite></testsuites>")
    found = MADE["results"]([tmp_path / "a.xml"])
    names = dict.fromkeys(("tests/test_a.py::test_row_07_a", "tests/test_a.py::test_row_07_b"))
    assert MADE["verdict"](7, "embedded", names, found) == expected
