"""Whether the video quickstarts learn motion: their accuracy on rearranged frames.

    python benchmarks/compare.py motion                          # trains two models: ten minutes
    python benchmarks/compare.py motion --seeds 1 2 3
    python benchmarks/compare.py motion --weights output/quickstart_video/model_final.pth
    python benchmarks/compare.py motion --actions \\
        --weights output/quickstart_actions/model_final.pth

Per seed, two trainings: configs/quickstart_video.py (with ``--actions``
configs/quickstart_actions.py), and the same with a single frame of each clip, repeated. Both are
tested on held-out clips whose frames are kept, reversed, shuffled, or all replaced by one. A clip
played backwards belongs to the opposite class, so predictions of the opposite class are counted
besides correct ones. For actions, which may overlap in time, the frame mAP is printed, and that of
scores swapped with those of the opposite actions. ``--weights`` tests the given model only.
A run whose results are already in the output folder is not repeated.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import mvit_det  # noqa: F401  before detectron2, which it makes importable

# isort: split
import numpy as np
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from omegaconf import DictConfig
from tabulate import tabulate
from torch import nn

from mvit_det.data import DenseSampling, KeyFrameSampling
from mvit_det.data.synthetic.motion_clips import MOTIONS
from mvit_det.data.synthetic.moving_figures import ACTIONS
from mvit_det.engine import apply_overrides, build_model, load_config
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.evaluation import ActionMetrics
from rows.pretraining import ROOT, format_range, train_once


def opposites(moves: Mapping[str, tuple[str, int]]) -> np.ndarray:
    """Return the class indices (K,) of the opposites of moves like `MOTIONS`."""
    pairs = list(moves.values())
    return np.array([pairs.index((dial, -way)) for dial, way in pairs])


OPPOSITE_CLASS, OPPOSITE_ACTION = opposites(MOTIONS), opposites(ACTIONS)
# With a frame step of 0, all frames of a clip are the same.
ONE_FRAME = ["dataloader.train.mapper.sampling.sampling_rate=0"]

# name -> function of the frame indices (T,) of a clip
ARRANGEMENTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "unchanged": lambda frames, rng: frames,
    "backwards": lambda frames, rng: frames[::-1],
    "shuffled": lambda frames, rng: rng.permutation(frames),
    "one frame, repeated": lambda frames, rng: np.full_like(frames, rng.choice(frames)),
}
ONE_IN_TRAINING = "one frame, repeated, and in training as well"


class Rearranged:
    """A sampling whose test frames are rearranged, by a name in `ARRANGEMENTS`."""

    def __init__(self, sampling: DenseSampling | KeyFrameSampling, arrangement: str):
        self.sampling = sampling
        self.arrangement = ARRANGEMENTS[arrangement]
        self.rng = np.random.default_rng(0)

    def test(self, times: np.ndarray, clip: int, clips: int) -> np.ndarray:
        """Return the frame indices (T,) of a clip."""
        return self.arrangement(self.sampling.test(times, clip, clips), self.rng)

    def around(self, times: np.ndarray, time: float) -> np.ndarray:
        """Return the frame indices (T,) around a key frame."""
        return self.arrangement(self.sampling.around(times, time), self.rng)


@torch.no_grad()
def predict_classes(cfg: DictConfig, model: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predicted class indices (N,) of the test videos, by the mean of views."""
    sums: dict[str, np.ndarray] = {}
    labels: dict[str, int] = {}
    for batch in instantiate(cfg.dataloader.test):
        scores = model(batch).sum(dim=1).double().numpy()
        for name, label, score in zip(batch["file_name"], batch["labels"].tolist(), scores):
            sums[name] = sums.get(name, 0) + score
            labels[name] = label
    return np.array(list(labels.values())), np.stack(list(sums.values())).argmax(axis=1)


def measure_classification(cfg: DictConfig, model: nn.Module) -> tuple[float, float]:
    """Return the percentages of test videos classified correctly, and as the opposite class."""
    labels, predicted = predict_classes(cfg, model)
    return 100 * np.mean(predicted == labels), 100 * np.mean(predicted == OPPOSITE_CLASS[labels])


@torch.no_grad()
def measure_detection(cfg: DictConfig, model: nn.Module) -> tuple[float, float]:
    """Return the frame mAP in percent, and that of scores swapped with the opposite actions'."""
    data = instantiate(cfg.dataloader.test)
    correct, opposite = (ActionMetrics(cfg.dataloader.test.dataset.name) for _ in range(2))
    for batch in data:
        scores = model(batch)
        correct.process(batch, scores)
        opposite.process(batch, [each[:, OPPOSITE_ACTION] for each in scores])
    return tuple(metrics.evaluate()["actions"]["mAP50"] for metrics in (correct, opposite))


@dataclass(frozen=True)
class Quickstart:
    """What differs between the two quickstarts.

    Attributes:
        config: file name in configs/.
        measure: computes the two figures of a row from a config and a model.
        output: folder of the trainings.
        columns: titles of the two figures.
        chance: sentence on the figures of random guessing.
    """

    config: str
    measure: Callable[[DictConfig, nn.Module], tuple[float, float]]
    output: Path
    columns: tuple[str, str]
    chance: str


VIDEOS = Quickstart(
    "quickstart_video.py",
    measure_classification,
    Path("output/motion"),
    ("correct, %", "opposite class, %"),
    f"Chance is {100 / len(MOTIONS):.0f} % for both",
)
ACTION_CLIPS = Quickstart(
    "quickstart_actions.py",
    measure_detection,
    Path("output/motion_actions"),
    ("mAP", "mAP of the opposites"),
    "Chance is the share of boxes with an action, 25 on average, for both",
)


def measure_arrangement(
    quickstart: Quickstart, cfg: DictConfig, weights: Path, arrangement: str
) -> tuple[float, float]:
    """Compute the two figures of trained weights on frames in an arrangement."""
    cfg = deepcopy(cfg)
    cfg.dataloader.test.mapper.sampling = L(Rearranged)(
        sampling=deepcopy(cfg.dataloader.train.mapper.sampling), arrangement=arrangement
    )
    model = build_model(cfg, "cpu").eval()
    StrictCheckpointer(model, complete=True).load(str(weights))
    return quickstart.measure(cfg, model)


def main(arguments: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Train or load the models of each seed, test them, print the table and return its pairs."""
    parser = ArgumentParser("compare.py motion", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--actions", action="store_true", help="the quickstart of action detection")
    parser.add_argument(
        "--weights", type=Path, help="checkpoint of a quickstart, to test without training"
    )
    parser.add_argument("--output", type=Path, help="folder of the trainings")
    parser.add_argument("opts", nargs="*", help="key=value: overrides of the config")
    args = parser.parse_args(arguments)

    quickstart = ACTION_CLIPS if args.actions else VIDEOS
    output = args.output or quickstart.output
    cfg = apply_overrides(load_config(str(ROOT / "configs" / quickstart.config)), args.opts)
    still = apply_overrides(deepcopy(cfg), ONE_FRAME)
    rows: dict[str, list[tuple[float, float]]] = {}
    for seed in args.seeds:
        overrides = [*args.opts, f"train.seed={seed}"]
        weights = args.weights
        if weights is None:
            folder = output / f"seed{seed}"
            train_once(quickstart.config, folder, overrides)
            weights = folder / "model_final.pth"
        for name in ARRANGEMENTS:
            rows.setdefault(name, []).append(measure_arrangement(quickstart, cfg, weights, name))
        if args.weights is None:
            folder = output / f"one-frame-seed{seed}"
            train_once(quickstart.config, folder, [*overrides, *ONE_FRAME])
            final = folder / "model_final.pth"
            result = measure_arrangement(quickstart, still, final, "unchanged")
            rows.setdefault(ONE_IN_TRAINING, []).append(result)
    columns = ("frames of a clip", *quickstart.columns)
    table = [(name, *map(format_range, map(list, zip(*pairs)))) for name, pairs in rows.items()]
    print(f"{quickstart.chance}; mean (smallest to largest) of seeds {args.seeds}")
    print(tabulate(table, columns, tablefmt="github"))
    return rows
