"""Checks of configs: the row in the README, saving and reloading, a training step, schedules."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.utils.events import EventStorage
from omegaconf import DictConfig
from shipped_configs import shipped_config
from torch import nn
from torch.optim import Optimizer

from mvit_det.backbone import VARIANTS
from mvit_det.engine import check_run, load_config
from mvit_det.engine.trainer import Trainer, WatchedLoader
from mvit_det.tasks import Task, task_of


def readme_row(path: Path) -> list[str]:
    """The cells of the one row for a config in the README of its folder."""
    text = (path.parent / "README.md").read_text()
    rows = [line for line in text.splitlines() if f"]({path.name})" in line]
    assert len(rows) == 1, f"make the table of {path.parent.name}/README.md again: {rows}"
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


def check_task(cfg: DictConfig, kind: type[Task]) -> None:
    """Expect a task, which also configs that were saved without it imply."""
    assert type(task_of(cfg)) is kind
    del cfg.task
    assert type(task_of(cfg)) is kind


def reloaded(path: Path, folder: Path) -> DictConfig:
    """The config as read back from its saved file: it passes, and saves to the same text."""
    LazyConfig.save(shipped_config(path), str(folder / "config.yaml"))
    cfg = load_config(str(folder / "config.yaml"))
    check_run(cfg, training=True)
    LazyConfig.save(cfg, str(folder / "again.yaml"))
    assert (folder / "again.yaml").read_text() == (folder / "config.yaml").read_text()
    return cfg


def trained_a_step(cfg: DictConfig, samples: list[dict]) -> nn.Module:
    """The config's model after a step on these samples that gives each parameter a gradient."""
    model = instantiate(cfg.model)
    cfg.optimizer.params.model = model
    collate = instantiate(cfg.dataloader.train.get("collate"))  # detectors take samples as they are
    trainer = Trainer(
        model,
        WatchedLoader([collate(samples) if collate else samples]),
        instantiate(cfg.optimizer),
        max_norm=cfg.train.clip_gradients,
    )
    before = [p.detach().clone() for p in model.parameters()]
    with EventStorage() as storage:
        trainer.run_step()
        assert math.isfinite(storage.latest()["total_loss"][0])
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))
    return model.eval()


def meta_model(cfg: DictConfig) -> nn.Module:
    """The config's model on the meta device, where L and H need no memory."""
    with torch.device("meta"):
        return instantiate(cfg.model)


def check_backbone_of_clips(vit: DictConfig, variant: str, size: Sequence[int]) -> None:
    """Compare a backbone with its row of the paper's Table 1, in the form of the video models."""
    row = VARIANTS[variant]
    assert (vit.embed_dim, vit.num_heads) == (row.embed_dim, row.num_heads)
    assert tuple(vit.last_block_indexes) == row.last_block_indexes
    assert vit.get("use_abs_pos", False) is False and vit.class_token is True
    assert tuple(vit.input_size) == size
    patch = (vit.patch_kernel, vit.patch_stride, vit.patch_padding)
    assert [tuple(numbers) for numbers in patch] == [(3, 7, 7), (2, 4, 4), (1, 3, 3)]
    assert (tuple(vit.pool_kernel), tuple(vit.adaptive_kv_stride)) == ((3, 3, 3), (1, 8, 8))
    assert vit.get("use_act_checkpoint", False) == (variant == "L")


def check_is_sgd(optimizer: Optimizer) -> None:
    """Compare an optimizer with PySlowFast's "sgd"."""
    assert type(optimizer) is torch.optim.SGD
    defaults = optimizer.defaults
    assert (defaults["momentum"], defaults["dampening"], defaults["nesterov"]) == (0.9, 0, True)


def check_schedule(
    cfg: DictConfig, *, epochs: int, warmup: float, start: float, end: float
) -> None:
    """Expect a linear warm-up from ``start``, then half a cosine to ``end``, as shares of the rate.

    Args:
        warmup: in epochs.
    """
    schedule = instantiate(cfg.lr_multiplier)
    for epoch in torch.linspace(0, epochs, 100).tolist():
        if epoch < warmup:
            expected = start + epoch / warmup * (1 - start)
        else:
            turn = math.pi * (epoch - warmup) / (epochs - warmup)
            expected = end + (1 - end) * (1 + math.cos(turn)) / 2
        assert schedule(epoch / epochs) == pytest.approx(expected, rel=1e-6, abs=1e-12), epoch
