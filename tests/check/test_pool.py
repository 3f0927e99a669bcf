"""Checks of files in several processes."""

import pytest
from file_checks import EndsOrNot
from PIL import Image

from mvit_det.check import pool
from mvit_det.data.checks.pictures import PictureCheck
from mvit_det.data.image_files import PictureFormat, use_pictures


@pytest.mark.slow  # starts processes
def test_a_file_that_ends_its_process_is_a_finding_and_all_others_are_checked_in_order(
    monkeypatch,
):
    monkeypatch.setattr(pool, "_FEW", 0)
    names = [str(number) for number in range(150)]
    names[40], names[77] = "end", "not a number"
    with pool.CheckPool(2) as running:
        results = list(running.run([EndsOrNot(name) for name in names]))
    assert [check.path for check, _ in results] == names
    faults = {check.path: report.findings[0] for check, report in results if report.findings}
    assert faults.keys() == {"end", "not a number"}
    assert "process that reads it is ended" in faults["end"].message
    assert "ValueError: invalid literal" in faults["not a number"].message
    digests = [report.digest for _, report in results if report.digest is not None]
    assert digests == [number for number in range(150) if number not in (40, 77)]


@pytest.mark.slow  # a spawned process imports everything again
def test_checks_run_in_spawned_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(pool, "_FEW", 0)
    monkeypatch.setattr(pool, "_START", "spawn")
    for pixels in (100, 10_000):  # the format of the config reaches them
        Image.new("RGB", (pixels // 10, 10)).save(tmp_path / f"{pixels}.png")
    checks = [PictureCheck(str(path)) for path in sorted(tmp_path.glob("*.png"))]
    use_pictures(PictureFormat(max_pixels=1000))
    try:
        with pool.CheckPool(1) as running:
            faults = [len(report.findings) for _, report in running.run(checks)]
    finally:
        use_pictures(PictureFormat())
    assert faults == [0, 1]
