"""docs/reference/paper_tables.md: all tables are there, configs exist, changes and figures fit."""

import re
from pathlib import Path

import pytest
from shipped_configs import CONFIGS, shipped_config

from mvit_det.checkpoint.published import find
from mvit_det.engine import apply_overrides, check_run

PAGE = CONFIGS.parent / "docs/reference/paper_tables.md"
TABLES = [*map(str, range(1, 15)), *(f"A.{number}" for number in range(1, 8))]
TABLES += ["MaskFeat", "MMAction2"]
# How many rows each table of the page has; the others are in configs/ablations or elsewhere.
ROWS = {"1": 5, "2": 6, "3": 5, "5": 13, "9": 2, "10": 3, "11": 4, "12": 2, "13": 4, "14": 11}
ROWS |= {"A.1": 2, "A.2": 5, "A.5": 5, "MaskFeat": 2, "MMAction2": 10}
ACCURACIES = "top1", "top5", "top1_resize", "box_ap", "mask_ap", "center", "full"


def tables() -> dict[str, list[list[str]]]:
    """The rows of each table, by its number."""
    found: dict[str, list[list[str]]] = {}
    for title, text in re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S):
        number = title.partition(":")[0].removeprefix("Table ")
        lines = re.findall(r"^\| .+$", text, re.M)[1:]  # without the head
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        found.setdefault(number, []).extend(rows)
        assert rows or "configs/ablations/README.md" in text or number in ("8", "A.3")
    return found


FOUND = tables()


def test_every_table_is_there():
    assert list(FOUND) == TABLES
    assert {number: len(rows) for number, rows in FOUND.items() if rows} == ROWS


ALL = [(number, row) for number, rows in FOUND.items() for row in rows]


@pytest.mark.parametrize(("number", "row"), ALL, ids=lambda value: str(value)[:40])
def test_each_row_names_a_config_that_takes_its_changes(number, row):
    _, figures, link, changes = row
    name, file = re.fullmatch(r"\[(.+)\]\(\.\./\.\./configs/(.+)\.py\)", link).groups()
    assert name == file and (CONFIGS / f"{file}.py").is_file()
    cfg = shipped_config(name)
    changed = apply_overrides(cfg, changes.strip("`").split())
    check_run(changed, training=True)
    start = changed.train.init_checkpoint
    assert not start or find(start) or Path(start).parts[0] == "output"
    others = number == "MMAction2" and cfg.published.table != number  # on data of its own
    if not (changes or others or number == "1"):
        # what the config states, as far as both have it
        stated = [cfg.published[key] for key in ACCURACIES if key in cfg.published]
        given = [float(figure) for figure in figures.split(" / ")]
        assert stated[: len(given)] == given[: len(stated)] and stated


def test_each_config_of_a_table_is_on_the_page():
    named = {(number, re.search(r"\[(.+?)\]", row[2])[1]) for number, row in ALL}
    for path in CONFIGS.rglob("*.py"):
        name = str(path.relative_to(CONFIGS).with_suffix(""))
        if not name.startswith(("common/", "ablations/", "quickstart")):
            table = shipped_config(name).get("published", {}).get("table")
            assert table is None or (table, name) in named
