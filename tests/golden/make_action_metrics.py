"""Golden AP of the official scorer of AVA, whose code is on no package index.

    PYTHONPATH=. python tests/golden/make_action_metrics.py PATH_OF_A_CLONE_OF_ACTIVITYNET

runs Evaluation/get_ava_performance.py of github.com/activitynet/ActivityNet on csv files of random
scenes, and writes ``action_metrics.json`` beside this script: of each seed AP by class, null for a
class without ground truth, and the mean.

Among equal scores the order of the official scorer is that of numpy's default sort, which differs
between processors. So here all sorts are stable ones, and in the test that compares with this file.
"""

import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "evaluation" / "actions"), str(TESTS.parent / "benchmarks")]
from action_scenes import Row, scene  # noqa: E402

GOLDEN = Path(__file__).resolve().parent / "action_metrics.json"
SEEDS = range(200)


def write_rows(path: Path, rows: list[Row], empty: list[tuple[str, float]] = ()) -> None:
    """A csv file in which no number loses a digit."""
    with path.open("w") as file:
        for video, second, *numbers, last in rows:
            values = numbers if last is None else [*numbers, last]
            print(video, f"{second:04d}", *map(repr, values), sep=",", file=file)
        for video, second in empty:
            print(video, f"{second:04d}", sep=",", file=file)


def main(clone: str) -> None:
    """Run the official scorer on every scene."""
    from rows.ava import metrics_of, official

    np.argsort = partial(np.argsort, kind="stable")
    scorer, golden = official(Path(clone) / "Evaluation"), {}
    for seed in SEEDS:
        test = scene(seed)
        # The official scorer leaves it to its user to delete excluded key frames.
        truth, found, empty = (
            [row for row in rows if row[:2] not in test.excluded]
            for rows in (test.truth, test.found, test.empty)
        )
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_rows(folder / "truth.csv", truth, empty)
            write_rows(folder / "found.csv", found)
            items = (f'item {{\n  name: "action {k}"\n  id: {k}\n}}\n' for k in test.class_ids)
            (folder / "labels.pbtxt").write_text("".join(items))
            values = metrics_of(scorer, folder, test.class_ids)
        golden[seed] = [None if np.isnan(value) else round(float(value), 12) for value in values]
    lines = (f'"{seed}": {json.dumps(values)}' for seed, values in golden.items())
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
