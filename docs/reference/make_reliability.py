"""Write docs/reliability.md from results of pytest: one or more JUnit files for each host.

    MVIT_DET_HOST=embedded pytest -m "" -k test_row_ --junit-xml embedded.xml
    pytest -m "" -k test_row_ --junit-xml real.xml
    python docs/reference/make_reliability.py --embedded embedded.xml --real real.xml

The tests of a row are those whose names begin with `test_row_` and its two digits.
"""

import argparse
import ast
import re
from collections import Counter, defaultdict
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reliability.md"

# Row: (what happens, when it passes, the result of Detectron2 02b5c4e2).
ROWS = {
    1: (
        "`kill -9` at a random iteration, then `--resume`; no workers and two",
        "image ids, losses, metrics and weights are bit for bit those of an uninterrupted run",
        "fails",
    ),
    2: (
        "the same with two processes, of which all or one are killed",
        "the same, in each process",
        "fails",
    ),
    3: (
        "`kill -9` in the middle of writing a periodic checkpoint",
        "the run continues from the one before, without any work by hand",
        "passes",
    ),
    4: (
        "the same while `model_final.pth`, `model_best.pth` or the pointer is written again",
        "no file under a final name is ever damaged",
        "fails",
    ),
    5: (
        "`last_checkpoint` is empty, or names a missing, truncated or other file",
        "the newest intact checkpoint is used, with one line of warning",
        "fails",
    ),
    6: (
        "64 flipped bytes in a checkpoint",
        "noticed by its checksum before training; an older one is used",
        "fails",
    ),
    7: (
        "a new run in a used output folder",
        "refused, so that no later `--resume` continues the wrong run",
        "fails",
    ),
    8: (
        "a second process in an output folder in use",
        "refused with the process id and host of the first",
        "fails",
    ),
    9: (
        "the disk is full when a checkpoint is saved",
        "earlier files stay, no partial file does; one line with the space needed and free; "
        "the run continues when there is space",
        "half",
    ),
    10: (
        "`max_to_keep` and the best metric across a resume",
        "the number is kept, and worse weights never replace the best",
        "fails",
    ),
    11: (
        "another learning rate, or number of classes, on resume",
        "the rate is used and logged; the classes are refused with both numbers",
        "fails",
    ),
    12: (
        "SIGTERM or SIGINT to the main process or its group; one process and two",
        "a checkpoint of that iteration within 10 seconds, exit code 128 + signal; "
        "no iteration is repeated",
        "fails",
    ),
    13: ("the same seed twice", "bitwise equal losses and weights, each task", "passes"),
    14: (
        "a loss or gradient that is not finite",
        "no such checkpoint is written; one sentence with iteration, losses, images; exit code 1",
        "fails",
    ),
    15: (
        "resuming a run that has diverged",
        "it continues from the last finite checkpoint, whoever wrote the others",
        "fails",
    ),
    16: (
        "a truncated, empty, HTML or missing image",
        "named; the check lists all; a training skips and counts it, or stops (`max_bad_share`)",
        "fails",
    ),
    17: (
        "any error in preparing a sample",
        "the text names the file, the image id and the annotation id",
        "fails",
    ),
    18: (
        "an image of another size than annotated",
        "the text names the file and both sizes",
        "passes",
    ),
    19: (
        "boxes without area, with NaN, of negative size, outside the image",
        "left out, counted by kind and listed by id; never trained mirrored",
        "fails",
    ),
    20: (
        "an annotation without mask, and RLE among polygons",
        "the first is left out and listed by id; RLE is trained",
        "fails",
    ),
    21: ("a category id that `categories` lacks", "refused with ids at load", "passes"),
    22: (
        "a model of fewer or more classes than the data",
        "refused before the first iteration, with both numbers",
        "fails",
    ),
    23: (
        "an image without annotations",
        "kept or left out by option, and counted",
        "passes",
    ),
    24: (
        "gray, CMYK, palette, alpha, 1-bit and GIF images",
        "mean pixel values are those of the reference within 1",
        "passes",
    ),
    25: (
        "16-bit PNG and TIFF, 32-bit and float TIFF",
        "scaled by the range of the config, or refused; never all white or black",
        "fails",
    ),
    26: (
        "EXIF orientations 1 to 8",
        "pixels follow the orientation and fit boxes and masks; swapped sizes are refused",
        "passes",
    ),
    27: (
        "400 million pixels; an image of 2000 x 1",
        "skipped or tested as a blank image, with the name of the file",
        "half",
    ),
    28: (
        "ids twice, JSON that is not valid, empty lists",
        "refused with the file and the id or line",
        "fails",
    ),
    29: (
        "a validation image vanishes during a training",
        "the training goes on; the evaluation is marked partial, and the exit code is 1",
        "fails",
    ),
    30: (
        "code in pickles: `.pth`, `.pyth`, `.pkl`, proposals",
        "never runs; no message offers to switch the safety off",
        "half",
    ),
    31: (
        "YAML with Python tags, or a `_target_` that no config builds",
        "refused, and nothing runs",
        "fails",
    ),
    32: (
        "a download cut short; a page in place of weights",
        "refused by length, SHA-256 where the publisher states one, or structure; nothing bad "
        "stays in the cache, and the next attempt works",
        "half",
    ),
    33: (
        "weights that fit in nothing, or in part; an evaluation without weights",
        "refused; a partial fit is logged with its count",
        "fails",
    ),
    34: (
        "misspelled overrides (50 generated ones for each quickstart); values of the wrong kind",
        "refused with the nearest key; with the key and what it allows",
        "fails",
    ),
    35: (
        "a data set that is absent or unknown; no network",
        "one line with the cause and the next step",
        "fails",
    ),
    36: (
        "a loader's worker, or one of two processes, is killed",
        "one sentence; all processes are gone within 30 seconds",
        "passes",
    ),
    37: (
        "a loader's worker, or one of two processes, is stopped",
        "one sentence with its process id; all processes end within `train.timeout` (20 seconds)",
        "fails",
    ),
    38: (
        "`--num-gpus 2` and mixed precision without a GPU",
        "two processes train in float32, which the log says; a GPU that is absent is refused in "
        "one line",
        "fails",
    ),
    39: (
        "one `pip install` in a new environment, with the newest packages",
        "trains, predicts, and loads every config",
        "fails",
    ),
    40: (
        "export to ONNX and `torch.export`",
        "outputs within 1e-4 for three sizes that the export has not seen, masks included",
        "fails",
    ),
}
ROW = re.compile(r"def test_row_(\d\d)_")
NOT_YET = {40}
# A row that does not apply to a host, and why.
INAPPLICABLE = {(39, "real"): "the real Detectron2 is on no package index"}

HEAD = """# Reliability

What goes wrong in a long training, and what this project does then. Each row is tested by the
tests that begin with its number, `test_row_07_...`; `docs/reference/make_reliability.py` writes
this page from their results. A row passes if all its tests do on that host and at least one has
run.

The last column is Detectron2 alone, at commit 02b5c4e2 of 2026-06-06, measured once with the same
faults on a CPU: 8 of 40 pass.

| | what happens | passes when | embedded host | real host | Detectron2 |
|---|---|---|---|---|---|
"""
TESTS = """
## Tests

Slow tests start and kill processes, release tests are long or need the network: see
[CONTRIBUTING](../CONTRIBUTING.md#add-a-row-to-the-table-of-reliability).

| | tests | tier |
|---|---|---|
"""


def tests() -> dict[int, dict[str, str]]:
    """Row -> "tests/file.py::test_row_NN_..." -> tier, of the tests that exist."""
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text()
        if not ROW.search(source):
            continue
        tree = ast.parse(source)
        whole = [node for node in tree.body if "pytestmark" in ast.unparse(node)]
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and (row := ROW.match(f"def {node.name}(")):
                marks = " ".join(map(ast.unparse, [*whole, *node.decorator_list]))
                tier = [name for name in ("release", "slow") if f"pytest.mark.{name}" in marks]
                name = f"{path.relative_to(ROOT).as_posix()}::{node.name}"
                found[int(row[1])][name] = tier[0] if tier else "default"
    return found


def results(files: list[Path]) -> dict[str, Counter]:
    """Test function -> how often it "passed", "failed" or "skipped"; a later file replaces."""
    found: dict[str, Counter] = {}
    for file in files:
        counts: dict[str, Counter] = defaultdict(Counter)
        for case in ElementTree.parse(file).iter("testcase"):
            path = case.get("classname", "").replace(".", "/") + ".py"
            name = f"{path}::{case.get('name', '').partition('[')[0]}"
            kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
            kind = "passed" if not kinds else "skipped" if kinds == {"skipped"} else "failed"
            counts[name][kind] += 1
        found.update(counts)
    return found


def verdict(row: int, host: str, names: dict[str, str], found: dict[str, Counter]) -> str:
    """The result of a row on a host."""
    if row in NOT_YET:
        return "not yet"
    if (row, host) in INAPPLICABLE:
        return "does not apply"
    counts = sum((found[name] for name in names if name in found), Counter())
    if counts["failed"]:
        return "**fails**"
    missing = [name for name in names if name not in found]
    return "passes" if counts["passed"] and not missing else "not run"


def page(by_host: dict[str, dict[str, Counter]]) -> str:
    """The whole page."""
    existing = tests()
    rows, lines = "", ""
    for row, (fault, criterion, theirs) in ROWS.items():
        names = existing.get(row, {})
        ours = " | ".join(verdict(row, host, names, found) for host, found in by_host.items())
        rows += f"| {row} | {fault} | {criterion} | {ours} | {theirs} |\n"
        for name, tier in names.items():
            file, _, test = name.partition("::")
            lines += f"| {row} | [`{test}`](../{file}) | {tier} |\n"
    passed = sum(theirs == "passes" for *_, theirs in ROWS.values())
    head = HEAD.format(theirs=passed, total=len(ROWS))
    notes = "".join(
        f"\nRow {row} does not apply to the {host} host: {why}.\n"
        for (row, host), why in INAPPLICABLE.items()
    )
    return head + rows + notes + TESTS + lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag in ("--embedded", "--real"):
        parser.add_argument(flag, type=Path, nargs="+", default=[], metavar="XML")
    PAGE.write_text(
        page({host: results(files) for host, files in vars(parser.parse_args()).items()})
    )
