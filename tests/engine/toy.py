"""A config of a model that trains in milliseconds and draws random numbers everywhere."""

import json
import random
from argparse import Namespace

import numpy as np
import torch
from detectron2.config import LazyCall as L
from detectron2.evaluation import DatasetEvaluator
from detectron2.solver import WarmupParamScheduler, get_default_optimizer_params
from detectron2.utils.env import seed_all_rng
from fvcore.common.param_scheduler import MultiStepParamScheduler
from omegaconf import OmegaConf
from torch import nn

from mvit_det.data import build_train_loader
from mvit_det.engine import do_train
from mvit_det.engine.trainer import Trainer

WIDTH = 8


def dataset(size: int) -> list[dict]:
    return [dict(index=i, file_name=f"{i}.jpg", width=2 + i % 2, height=2) for i in range(size)]


def noisy(item: dict) -> dict:
    """A mapper that draws from all three generators."""
    noise = random.random() + np.random.rand() + torch.rand(WIDTH)
    return dict(item, x=torch.full((WIDTH,), float(item["index"] + 1)) * noise)


def scored_batches(count: int) -> list[list[dict]]:
    return [[dict(x=torch.ones(WIDTH))] for _ in range(count)]


class Toy(nn.Module):
    """A linear layer with dropout and batch norm; two losses."""

    def __init__(self, dropout: float = 0.5, norm: bool = True):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH) if norm else nn.Identity()
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: list[dict]) -> dict[str, torch.Tensor] | list[float]:
        x = torch.stack([item["x"] for item in batch])
        y = self.dropout(self.layers(x))
        if not self.training:
            return y.mean(1).tolist()
        return {"loss_square": y.square().mean(), "loss_abs": (y - 1).abs().mean()}


class Score(DatasetEvaluator):
    """Gives the scores of a list, one per evaluation, and draws random numbers meanwhile."""

    scores: list[float] = []

    def reset(self) -> None:
        torch.rand(3), np.random.rand(), random.random()

    def evaluate(self) -> dict:
        return {"toy": {"score": Score.scores.pop(0) if Score.scores else 0.0}}


def config(output_dir, **train) -> OmegaConf:
    """Two images per iteration, a checkpoint every three, no evaluation."""
    max_iter = train.setdefault("max_iter", 10)
    return OmegaConf.create(
        dict(
            model=L(Toy)(),
            optimizer=L(torch.optim.AdamW)(
                params=L(get_default_optimizer_params)(), lr=0.01, weight_decay=0.1
            ),
            lr_multiplier=L(WarmupParamScheduler)(
                scheduler=L(MultiStepParamScheduler)(
                    values=[1, 0.1], milestones=[round(0.7 * max_iter), max_iter]
                ),
                warmup_length=0.3,
                warmup_factor=0.01,
            ),
            dataloader=dict(
                train=L(build_train_loader)(
                    dataset=L(dataset)(size=11), mapper=noisy, total_batch_size=2, seed=3
                ),
                test=L(scored_batches)(count=2),
                evaluator=[L(Score)()],
            ),
            train=dict(
                output_dir=str(output_dir),
                init_checkpoint="",
                seed=1,
                amp=dict(enabled=False),
                gradient_accumulation=1,
                ddp=dict(),
                checkpointer=dict(period=3, max_to_keep=100),
                best_metric="toy/score",
                eval_period=0,
                log_period=1,
                device="cpu",
            )
            | train,
        ),
        flags={"allow_objects": True},
    )


def train(cfg, resume: bool = False) -> dict:
    """Train a config after seeding, as `default_setup` does."""
    seed_all_rng(cfg.train.seed)
    return do_train(Namespace(resume=resume), cfg)


def logged(output_dir) -> dict[int, dict[str, float]]:
    """iteration -> its values in metrics.json, without times; the later of two lines counts."""
    rows: dict[int, dict[str, float]] = {}
    for line in (output_dir / "metrics.json").read_text().splitlines():
        row = json.loads(line)
        kept = {key: value for key, value in row.items() if "time" not in key and "eta" not in key}
        rows.setdefault(row["iteration"], {}).update(kept)
    return rows


def weights(output_dir, name: str = "model_final") -> dict[str, torch.Tensor]:
    return torch.load(output_dir / f"{name}.pth", weights_only=True)["model"]


class Killed(BaseException):
    """In place of kill -9, which tests/train/test_train_net.py sends to a real process."""


def killed_before(iteration: int, monkeypatch) -> None:
    """End the training before that iteration."""
    original = Trainer.run_step

    def run_step(self):
        if self.iter == iteration:
            raise Killed
        original(self)

    monkeypatch.setattr(Trainer, "run_step", run_step)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two states have the same tensors."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
