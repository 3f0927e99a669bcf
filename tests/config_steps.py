"""What the tests do with every config of a classifier: save and reload it, train one step."""

import math
from pathlib import Path

import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.utils.events import EventStorage
from mvit_det.engine import load_config
from mvit_det.engine.trainer import Trainer, WatchedLoader
from omegaconf import DictConfig, OmegaConf
from torch import nn


def reloaded(path: Path, folder: Path) -> DictConfig:
    """The config as it is read back from its saved file, which saves to the same text again."""
    LazyConfig.save(load_config(str(path)), str(folder / "config.yaml"))
    cfg = load_config(str(folder / "config.yaml"))
    LazyConfig.save(cfg, str(folder / "again.yaml"))
    assert (folder / "again.yaml").read_text() == (folder / "config.yaml").read_text()
    assert OmegaConf.to_container(cfg) == OmegaConf.to_container(
        load_config(str(folder / "again.yaml"))
    )
    return cfg


def trained_a_step(cfg: DictConfig, samples: list[dict]) -> nn.Module:
    """The config's model behind one step on these samples: every parameter has had a gradient."""
    model = instantiate(cfg.model)
    cfg.optimizer.params.model = model
    collate = instantiate(cfg.dataloader.train.collate)
    trainer = Trainer(
        model,
        WatchedLoader([collate(samples)]),
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
