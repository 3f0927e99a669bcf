"""Frame mAP of actions against the official scorer of AVA.

    git clone --depth 1 https://github.com/activitynet/ActivityNet
    python benchmarks/compare.py ava ava-scoring --ava-official ActivityNet/Evaluation

Both read the same csv files and end with AP per class and the mean, which are compared. Keeping the
best 50 labelled boxes of a key frame, and sorting them, is part of the official scorer's reading
and of our scoring. The data are random: in each key frame three people with one to three of 60
actions, detected with a slightly shifted box and 60 scores each; in "ava-ties", many scores are
equal.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from rows import Options, Row

# As in AVA, 60 ids of 80 count, and a video has 897 key frames.
ACTIONS = np.sort(np.random.default_rng(0).permutation(np.arange(1, 81))[:60])
SECONDS = np.arange(902, 1799)
KEY_FRAMES, PEOPLE, QUICK = 57_000, 3, 200
FILES = ("labels.pbtxt", "truth.csv", "found.csv")
# row -> (reading is measured, decimals of the scores)
ROWS = {"ava": (True, 9), "ava-scoring": (False, 9), "ava-ties": (True, 4)}


def rows() -> Iterator[Row]:
    """Yield the rows."""
    for name, (reading, digits) in ROWS.items():
        what = f"AVA's frame mAP, {KEY_FRAMES:,} key frames, {60 * PEOPLE} detections each"
        what += ", " + ("from csv files" if reading else "scoring alone")
        yield Row(
            name,
            what + f", {digits} decimals" * (digits != 9),
            "the official scorer",
            "numpy",
            partial(_build, reading),
            precisions=False,
            prepare=partial(_prepare, digits),
            named=digits != 9,
            needs="ava_official",
        )


def draw(key_frames: int, people: int, digits: int, seed: int = 0) -> tuple[Any, Any]:
    """Draw ground truth and detections, with rows grouped by key frame and then by person."""
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
    repeated = np.repeat(np.arange(count), actions)
    return truth, _table(frame[repeated], moved[repeated], np.tile(ACTIONS, count), score)


def _table(frame: np.ndarray, box: np.ndarray, action: np.ndarray, score: np.ndarray) -> Any:
    from mvit_det.ava_files import BoxTable

    video, second = np.divmod(frame, len(SECONDS))
    names = [f"video_{number:04d}" for number in range(int(video[-1]) + 1)]
    line = np.arange(1, len(frame) + 1)
    return BoxTable(names, video.astype(np.int32), SECONDS[second] * 1.0, box, action, score, line)


def _prepare(digits: int, options: Options) -> None:
    from mvit_det.ava_files import write_detections

    folder = Path(options.folder)
    items = (f'item {{\n  name: "action {k}"\n  id: {k}\n}}\n' for k in ACTIONS)
    (folder / FILES[0]).write_text("".join(items), encoding="utf-8")
    drawn = draw(QUICK if options.quick else KEY_FRAMES, PEOPLE, digits)
    for name, content in zip(FILES[1:], drawn):
        write_detections(folder / name, content)


def _build(reading: bool, side: str, options: Options) -> Callable[[], Any]:
    folder = Path(options.folder)
    if side == "peer":
        scorer = official(Path(options.ava_official))
        if not reading:
            scorer.read_csv = _held(scorer.read_csv)
        return partial(metrics_of, scorer, folder, ACTIONS)
    from mvit_det.ava_files import read_boxes, read_label_map
    from mvit_det.evaluation.actions.metrics import frame_ap, prepare

    def read_files() -> tuple[list[int], Any, Any]:
        labels, truth, found = (folder / name for name in FILES)
        ids = sorted(read_label_map(labels))
        return ids, read_boxes(truth, "actions"), read_boxes(found, "detections")

    given = None if reading else read_files()

    def run() -> list[float]:
        class_ids, truth, found = given or read_files()
        prepared = prepare(truth, found)
        scores = frame_ap(prepared.truth, prepared.found, class_ids)
        return [*scores.ap.tolist(), scores.mean]

    return run


def _held(read: Callable[..., Any]) -> Callable[..., Any]:
    """Let a reader read each file once: in the first run, which is not counted."""
    held: dict[str, Any] = {}

    def held_or_read(file: Any, *arguments: Any, **options: Any) -> Any:
        if file.name not in held:
            held[file.name] = read(file, *arguments, **options)
        return held[file.name]

    return held_or_read


def official(folder: Path) -> ModuleType:
    """Import the official scorer, with the old type names that numpy has dropped."""
    for name, kind in dict(bool=bool, float=float, NAN=np.nan).items():
        if name not in vars(np):
            setattr(np, name, kind)
    sys.path[:0] = [str(folder), str(folder / "ava")]
    return import_module("get_ava_performance")


def metrics_of(scorer: ModuleType, files: Path, class_ids: Sequence[int]) -> list[float]:
    """Compute AP of each class, then the mean, from the three `FILES` of a folder."""
    printed: list[dict[str, float]] = []
    scorer.pprint = SimpleNamespace(
        pformat=lambda *_, **__: "", pprint=lambda metrics, **_: printed.append(metrics)
    )
    # It logs each key frame that it ignores.
    logging.disable()
    with ExitStack() as stack:
        opened = (stack.enter_context(open(files / name, encoding="utf-8")) for name in FILES)
        scorer.run_evaluation(*opened)
    names = (f"PerformanceByCategory/AP@0.5IOU/action {k}" for k in class_ids)
    return [printed[0][f"PascalBoxes_{name}"] for name in (*names, "Precision/mAP@0.5IOU")]
