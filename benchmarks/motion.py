#!/usr/bin/env python
"""Is motion what the video quickstart learns? Its accuracy on frames that were tampered with.

    python benchmarks/motion.py                                  # trains two models: ten minutes
    python benchmarks/motion.py --seeds 1 2 3
    python benchmarks/motion.py --weights output/quickstart_video/model_final.pth

Per seed: configs/quickstart_video.py, and the same with a single frame of each clip, repeated. Then
both are tested on held-out clips, whose frames are kept, reversed, shuffled, or all replaced by one.
A clip of one class played backwards is one of the opposite class, so besides right answers those are
counted that name the opposite. With ``--weights`` only the first model is tested, as it is. A run
whose results are in the output folder already is not repeated.
"""

from argparse import ArgumentParser
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import mvit_det  # noqa: F401  before detectron2, which it makes importable
import numpy as np
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from omegaconf import DictConfig
from pretraining import ROOT, spread, trained
from tabulate import tabulate
from torch import nn

from mvit_det.data.clip_mapper import Sampling
from mvit_det.data.motion_clips import MOTIONS
from mvit_det.engine import apply_overrides, build_model, load_config
from mvit_det.engine.checkpointer import StrictCheckpointer

CONFIG = "quickstart_video.py"
# With no frames from one to the next, all of a clip are the same one.
ONE_FRAME = ["dataloader.train.mapper.sampling.sampling_rate=0"]

# from the frame numbers (T,) of a clip
ARRANGEMENTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "as they are": lambda frames, rng: frames,
    "backwards": lambda frames, rng: frames[::-1],
    "shuffled": lambda frames, rng: rng.permutation(frames),
    "one of them, repeated": lambda frames, rng: np.full_like(frames, rng.choice(frames)),
}
ONE_IN_TRAINING = "one of them, repeated, and in training as well"


class Rearranged:
    """A test sampling whose frames are put into another order, by a name in `ARRANGEMENTS`."""

    def __init__(self, sampling: Sampling, arrangement: str):
        self.sampling = sampling
        self.arrangement = ARRANGEMENTS[arrangement]
        self.rng = np.random.default_rng(0)

    def test(self, times: np.ndarray, clip: int, clips: int) -> np.ndarray:
        """Frame numbers (T,) of a clip."""
        return self.arrangement(self.sampling.test(times, clip, clips), self.rng)


@torch.no_grad()
def answers(cfg: DictConfig, model: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predicted classes (N,) of the test videos, by the mean of all views."""
    sums: dict[str, np.ndarray] = {}
    labels: dict[str, int] = {}
    for batch in instantiate(cfg.dataloader.test):
        scores = model(batch).sum(dim=1).double().numpy()
        for name, label, score in zip(batch["file_name"], batch["labels"].tolist(), scores):
            sums[name] = sums.get(name, 0) + score
            labels[name] = label
    return np.array(list(labels.values())), np.stack(list(sums.values())).argmax(axis=1)


def tested(cfg: DictConfig, weights: Path, arrangement: str) -> tuple[float, float]:
    """Percent of the answers that are right, and percent that name the opposite class."""
    cfg = deepcopy(cfg)
    mapper = cfg.dataloader.test.mapper
    mapper.sampling = L(Rearranged)(
        sampling=deepcopy(cfg.dataloader.train.mapper.sampling), arrangement=arrangement
    )
    model = build_model(cfg, "cpu").eval()
    StrictCheckpointer(model, complete=True).load(str(weights))
    labels, predicted = answers(cfg, model)
    moves = list(MOTIONS.values())
    opposite = np.array([moves.index((dial, -way)) for dial, way in moves])
    return 100 * np.mean(predicted == labels), 100 * np.mean(predicted == opposite[labels])


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--weights", type=Path, help="of a trained quickstart; trains none")
    parser.add_argument("--output", type=Path, default=Path("output/motion"))
    parser.add_argument("opts", nargs="*", help="key=value: overrides of the config")
    args = parser.parse_args()

    cfg = apply_overrides(load_config(str(ROOT / "configs" / CONFIG)), args.opts)
    still = apply_overrides(deepcopy(cfg), ONE_FRAME)
    rows: dict[str, list[tuple[float, float]]] = {}
    for seed in args.seeds:
        overrides = [*args.opts, f"train.seed={seed}"]
        weights = args.weights
        if weights is None:
            folder = args.output / f"seed{seed}"
            trained(CONFIG, folder, overrides)
            weights = folder / "model_final.pth"
        for name in ARRANGEMENTS:
            rows.setdefault(name, []).append(tested(cfg, weights, name))
        if args.weights is None:
            folder = args.output / f"one-frame-seed{seed}"
            trained(CONFIG, folder, [*overrides, *ONE_FRAME])
            result = tested(still, folder / "model_final.pth", "as they are")
            rows.setdefault(ONE_IN_TRAINING, []).append(result)
    columns = ("frames of a clip", "right, %", "opposite class, %")
    table = [(name, *map(spread, map(list, zip(*pairs)))) for name, pairs in rows.items()]
    chance = 100 / len(MOTIONS)
    print(f"Chance is {chance:.0f} % for both; mean (smallest to largest) of seeds {args.seeds}")
    print(tabulate(table, columns, tablefmt="github"))


if __name__ == "__main__":
    main()
