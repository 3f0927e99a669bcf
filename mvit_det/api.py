"""Load configs and models by name from Python: see `mvit_det.__all__`."""

import os
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvit_det.checkpoint.published import find
from mvit_det.config_names import config_names
from mvit_det.engine import apply_overrides, build_model, load_config
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.errors import UserError


def get_config(
    name: str, overrides: Sequence[str] = (), *, allow_targets: Sequence[str] = ()
) -> DictConfig:
    """Load a config of this package by its name, or any other by its path.

    Args:
        name: one of `mvit_det.list_configs()`, with or without its folder, or a .py or .yaml file.
            A .py file is executed; a .yaml file is only read.
        overrides: changes in Hydra's grammar, such as ``["model.num_classes=5"]``.
        allow_targets: packages whose classes and functions a .yaml may name besides those of this
            one, Detectron2, torch.nn, torch.optim, fvcore, timm and torchvision.

    Raises:
        UserError: the config does not exist or cannot be read, or an override or a value does not
            fit it.
    """
    return apply_overrides(load_config(name, allow_targets), overrides)


def build(
    name: str,
    *,
    pretrained: bool | str = False,
    overrides: Sequence[str] = (),
    allow_targets: Sequence[str] = (),
) -> nn.Module:
    """Build the model of a config in evaluation mode, on the CPU.

    A classifier takes ``{"inputs": (B, 3, H, W)}``, or (B, 3, T, H, W) for clips, normalised RGB,
    and returns probabilities (B, num_classes); a detector takes Detectron2's list of dicts.

    Args:
        name: a config as for `get_config`, or the name of published weights, which selects the
            config of their model.
        pretrained: False for random weights, True for the published weights of that name or config,
            or a path, a URL or the name of published weights in any format.
        overrides: changes to the config, as for `get_config`.
        allow_targets: see `get_config`.

    Raises:
        UserError: the name is unknown, no published weights belong to the config, or the weights
            lack a tensor of the model or have it in another shape.
    """
    names = config_names()
    row = None if name in names else find(name)
    config = row.config if row else name
    cfg = get_config(config, overrides, allow_targets=allow_targets)
    weights = pretrained or ""
    if weights is True:
        weights = row.name if row else OmegaConf.select(cfg, "published.weights")
        if not weights:
            raise UserError(
                f"No published weights fit the model of config {name}: set pretrained to a path, a "
                "URL or a name of `python -m mvit_det.checkpoint.published`, or to False for "
                "random weights."
            )
    model = build_model(cfg, "cpu").eval()
    if weights:
        inflation = OmegaConf.select(cfg, "train.inflation") or "centre"
        ema = OmegaConf.select(cfg, "train.init_ema", default=True)
        checkpointer = StrictCheckpointer(model, complete=True, inflation=inflation, ema=ema)
        checkpointer.load(os.fspath(weights))
    return model
