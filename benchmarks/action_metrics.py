#!/usr/bin/env python
"""Time this project's frame mAP of actions against the official scorer of AVA, and compare both.

    git clone --depth 1 https://github.com/activitynet/ActivityNet
    python benchmarks/action_metrics.py --official ActivityNet/Evaluation --key-frames 2000
    python benchmarks/action_metrics.py --official ActivityNet/Evaluation    # AVA's size: minutes

Both read the same csv files, each in a separate process, and end with AP per class; times are CPU
seconds of one thread. Keeping the best 50 labelled boxes of a key frame, and sorting them, is part
of the official scorer's reading and of our scoring. The data are random: in each key frame three
people with one to three of 60 actions, detected with a slightly shifted box and 60 scores each.
"""

import json
import logging
import math
import os
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from tabulate import tabulate

from mvit_det.ava_files import BoxTable, read_boxes, read_label_map, write_detections
from mvit_det.evaluation.actions.metrics import frame_ap, prepare

# As in AVA, 60 ids of 80 count, and a video has 897 key frames.
ACTIONS = np.sort(np.random.default_rng(0).permutation(np.arange(1, 81))[:60])
SECONDS = np.arange(902, 1799)


def draw(key_frames: int, people: int, digits: int, seed: int = 0) -> tuple[BoxTable, BoxTable]:
    """Draw (ground truth, detections), with rows grouped by key frame and then by person."""
    rng = np.random.default_rng(seed)
    count, actions = key_frames * people, len(ACTIONS)
    frame = np.repeat(np.arange(key_frames), people)
    corner = rng.uniform(0, 0.6, (count, 2))
    box = np.hstack([corner, corner + rng.uniform(0.1, 0.4, (count, 2))]).round(3)
    frequency = rng.pareto(1.0, actions) + 0.01
    label = rng.choice(actions, (count, 3), p=frequency / frequency.sum())
    labelled = np.zeros((count, actions), bool)
    for column in range(3):
        more = rng.random(count) < (1, 0.6, 0.3)[column]
        labelled[np.arange(count)[more], label[more, column]] = True
    person, action = np.nonzero(labelled)
    number = np.tile(np.arange(people), key_frames)
    truth = _table(frame[person], box[person], ACTIONS[action], number[person].astype(float))

    moved = np.float32(box + rng.normal(0, 0.04, box.shape)).clip(0, 1)
    logit = rng.normal(-6, 1.5, (count, actions)) + 4 * labelled
    score = np.float32(1 / (1 + np.exp(-logit))).round(digits).ravel()
    rows = np.repeat(np.arange(count), actions)
    return truth, _table(frame[rows], moved[rows], np.tile(ACTIONS, count), score)


def _table(frame: np.ndarray, box: np.ndarray, action: np.ndarray, score: np.ndarray) -> BoxTable:
    video, second = np.divmod(frame, len(SECONDS))
    names = [f"video_{number:04d}" for number in range(int(video[-1]) + 1)]
    line = np.arange(1, len(frame) + 1)
    return BoxTable(names, video.astype(np.int32), SECONDS[second] * 1.0, box, action, score, line)


def write(folder: Path, truth: BoxTable, found: BoxTable) -> None:
    """Write the three files that a scorer reads."""
    items = (f'item {{\n  name: "action {k}"\n  id: {k}\n}}\n' for k in ACTIONS)
    (folder / "labels.pbtxt").write_text("".join(items), "utf-8")
    write_detections(folder / "truth.csv", truth)
    write_detections(folder / "found.csv", found)


def official(folder: Path) -> ModuleType:
    """Import the official scorer, with the old type names that numpy has dropped."""
    for name, kind in dict(bool=bool, float=float, NAN=np.nan).items():
        if name not in vars(np):
            setattr(np, name, kind)
    sys.path[:0] = [str(folder), str(folder / "ava")]
    return import_module("get_ava_performance")


def metrics_of(scorer: ModuleType, files: Path, class_ids: Sequence[int]) -> list[float]:
    """Compute AP of each class, then the mean, from the three files of `write`."""
    printed: list[dict[str, float]] = []
    scorer.pprint = SimpleNamespace(
        pformat=lambda *_, **__: "", pprint=lambda metrics, **_: printed.append(metrics)
    )
    # It logs each key frame that it ignores.
    logging.disable()
    with ExitStack() as stack:
        names = ("labels.pbtxt", "truth.csv", "found.csv")
        opened = (stack.enter_context(open(files / name, encoding="utf-8")) for name in names)
        scorer.run_evaluation(*opened)
    names = (f"PerformanceByCategory/AP@0.5IOU/action {k}" for k in class_ids)
    return [printed[0][f"PascalBoxes_{name}"] for name in (*names, "Precision/mAP@0.5IOU")]


class Stopwatch:
    """CPU seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str):
        start = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start


def run_official(files: Path, folder: Path) -> dict[str, Any]:
    """Run the official scorer; return AP per class and mean, seconds, and peak memory in GiB."""
    scorer, watch = official(folder), Stopwatch()
    read = scorer.read_csv

    def timed(*args, **options):
        with watch("reading"):
            return read(*args, **options)

    scorer.read_csv = timed
    with watch("scoring"):
        ap = metrics_of(scorer, files, ACTIONS)
    watch.seconds["scoring"] -= watch.seconds["reading"]
    return dict(seconds=watch.seconds, ap=ap, **_peak())


def run_ours(files: Path) -> dict[str, Any]:
    """Run this project's metric; return the same as `run_official`."""
    watch = Stopwatch()
    with watch("reading"):
        class_ids = sorted(read_label_map(files / "labels.pbtxt"))
        truth = read_boxes(files / "truth.csv", "actions")
        found = read_boxes(files / "found.csv", "detections")
    with watch("scoring"):
        prepared = prepare(truth, found)
        scores = frame_ap(prepared.truth, prepared.found, class_ids)
    return dict(seconds=watch.seconds, ap=[*scores.ap.tolist(), scores.mean], **_peak())


def _peak() -> dict[str, float]:
    if sys.platform == "win32":  # where Python has no such count
        return dict(peak=math.nan)
    import resource

    unit = 1 if sys.platform == "darwin" else 2**10  # bytes
    return dict(peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30)


def run_alone(run: Callable[..., dict[str, Any]], *args: Path) -> dict[str, Any]:
    """Call ``run`` in a fresh process, so that its peak memory is measured alone."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(run, *args).result()


def main(args: Namespace) -> None:
    """Draw the data, run both scorers, and print times, memory and differences."""
    truth, found = draw(args.key_frames, args.people, args.digits)
    print(
        f"{args.key_frames} key frames, {len(truth)} labelled boxes, {len(found)} detections",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), truth, found)
        del truth, found
        runs = {"mvit_det": run_alone(run_ours, Path(folder))}
        print(json.dumps(runs["mvit_det"]["seconds"]), flush=True)
        runs["official"] = run_alone(run_official, Path(folder), args.official)
    theirs, ours = runs["official"], runs["mvit_det"]
    rows = []
    for name in ("reading", "scoring"):
        pair = [run["seconds"][name] for run in (theirs, ours)]
        rows.append([f"{name}, s", *pair, pair[0] / pair[1]])
    pair = [sum(run["seconds"].values()) for run in (theirs, ours)]
    rows.append(["together, s", *pair, pair[0] / pair[1]])
    rows.append(["peak memory, GiB", theirs["peak"], ours["peak"], theirs["peak"] / ours["peak"]])
    print(tabulate(rows, ["", "official", "mvit_det", "ratio"], floatfmt=".2f"))
    difference = np.abs(np.subtract(theirs["ap"], ours["ap"]))
    print(
        f"mean AP {100 * ours['ap'][-1]:.4f}, largest difference of a class or the mean "
        f"{np.nanmax(difference):.1e}, classes that only one measures: "
        f"{np.count_nonzero(np.isnan(theirs['ap']) != np.isnan(ours['ap']))}"
    )


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, help="folder Evaluation of a clone of ActivityNet")
    parser.add_argument("--key-frames", type=int, default=57_000)
    parser.add_argument("--people", type=int, default=3, help="boxes per key frame")
    parser.add_argument(
        "--digits", type=int, default=9, help="decimals of scores; with 4, many are equal"
    )
    arguments = parser.parse_args()
    if arguments.official is None:
        parser.error(
            "the official scorer is missing: clone https://github.com/activitynet/ActivityNet and "
            "give its folder Evaluation as --official."
        )
    if not (arguments.official / "get_ava_performance.py").is_file():
        parser.error(
            f"there is no get_ava_performance.py in {arguments.official}: give the folder "
            "Evaluation of a clone of https://github.com/activitynet/ActivityNet as --official."
        )
    main(arguments)
