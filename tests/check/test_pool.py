"""Checks of files in several processes."""

import pytest
from file_checks import EndsOrNot

from mvit_det.check import pool


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize("start, processes", [(None, 2), ("spawn", 1)])
def test_a_file_that_ends_its_process_is_a_finding_and_all_others_are_checked_in_order(
    monkeypatch, start, processes
):
    monkeypatch.setattr(pool, "_FEW", 0)
    monkeypatch.setattr(pool, "_START", start)
    names = [str(number) for number in range(150)]
    names[40], names[77] = "end", "not a number"
    with pool.CheckPool(processes) as running:
        results = list(running.run([EndsOrNot(name) for name in names]))
    assert [check.path for check, _ in results] == names
    faults = {check.path: report.findings[0] for check, report in results if report.findings}
    assert faults.keys() == {"end", "not a number"}
    assert "process that reads it is ended" in faults["end"].message
    assert "ValueError: invalid literal" in faults["not a number"].message
    digests = [report.digest for _, report in results if report.digest is not None]
    assert digests == [number for number in range(150) if number not in (40, 77)]
