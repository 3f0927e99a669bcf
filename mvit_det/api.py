"""Configs and models by name, for use from Python: see `mvit_det.__all__`."""

import os
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvit_det.checkpoint.published import find
from mvit_det.config_names import config_names
from mvit_det.engine import apply_overrides, build_model, load_config
from mvit_det.engine.checkpointer import StrictCheckpointer
from mvit_det.errors import UserError

# published weights -> the config whose model they fill completely, where the names differ
CONFIG_OF_WEIGHTS = {
    "mvitv2_l_40x3_k400": "mvitv2_l_40x3_312_in21k_k400",
    "mvitv2_l_40x3_ssv2": "mvitv2_l_40x3_312_ssv2",
    **{f"detectron2/mvitv2_{size}_in1k": f"mvitv2_{size}_in1k" for size in "tsb"},
    **{f"detectron2/mvitv2_{size}_in21k": f"mvitv2_{size}_in21k" for size in "blh"},
    "torchvision/mvit_v2_s": "mvitv2_s_16x4_k400",
    "timm/mvitv2_tiny.fb_in1k": "mvitv2_t_in1k",
    "timm/mvitv2_small.fb_in1k": "mvitv2_s_in1k",
    "timm/mvitv2_base.fb_in1k": "mvitv2_b_in1k",
    "timm/mvitv2_large.fb_in1k": "mvitv2_l_in1k",
    "timm/mvitv2_base_cls.fb_inw21k": "mvitv2_b_in21k",
    "timm/mvitv2_large_cls.fb_inw21k": "mvitv2_l_in21k",
    "timm/mvitv2_huge_cls.fb_inw21k": "mvitv2_h_in21k",
    "mmaction2/mvit-small-p244_16x4x1_kinetics400-rgb": "mvitv2_s_16x4_k400",
    "mmaction2/mvit-base-p244_32x3x1_kinetics400-rgb": "mvitv2_b_32x3_k400",
    "mmaction2/mvit-large-p244_40x3x1_kinetics400-rgb": "mvitv2_l_40x3_312_in21k_k400",
    "mmaction2/mvit-small-p244_u16_sthv2-rgb": "mvitv2_s_16x4_ssv2",
    "mmaction2/mvit-base-p244_u32_sthv2-rgb": "mvitv2_b_32x3_ssv2",
    "mmaction2/mvit-large-p244_u40_sthv2-rgb": "mvitv2_l_40x3_312_ssv2",
    "mmaction2/mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb": "mvitv2_s_16x4_k400",
    "mmaction2/mvit-small-p244_k400-maskfeat-pre_8xb32-16x4x1-100e_kinetics400-rgb": (
        "mvitv2_s_16x4_maskfeat_k400"
    ),
    "mmaction2/mvit-small-p244_k400-pre_16xb16-u16-100e_sthv2-rgb": "mvitv2_s_16x4_ssv2",
}


def get_config(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Load a config of this package by its name, or any other by its path.

    Args:
        name: one of `mvit_det.list_configs()`, with or without its folder, or a .py or .yaml file.
        overrides: changes in Hydra's grammar, such as ``["model.num_classes=5"]``.

    Raises:
        UserError: there is no such config, or an override does not fit it.
    """
    return apply_overrides(load_config(name), overrides)


def build(name: str, *, pretrained: bool | str = False, overrides: Sequence[str] = ()) -> nn.Module:
    """Build the model of a config in evaluation mode, on the CPU.

    A classifier takes ``{"inputs": (B, 3, H, W)}``, or (B, 3, T, H, W) for clips, normalised RGB,
    and gives probabilities (B, num_classes); a detector takes Detectron2's list of dicts.

    Args:
        name: a config as for `get_config`, or the name of published weights, which stands for the
            config whose model they fill.
        pretrained: False for random weights, True for the published weights of that name or config,
            or else a path, a URL or the name of published weights in any format.
        overrides: changes to the config, as for `get_config`.

    Raises:
        UserError: the name is unknown, no published weights belong to the config, or the weights
            lack a tensor of the model or have it in another shape.
    """
    names = config_names()
    row = None if name in names else find(name)
    config = CONFIG_OF_WEIGHTS.get(row.name, row.name) if row else name
    if row and config not in names:
        raise UserError(
            f"No config has the model of the weights {name} ({row.what}): name a config."
        )
    cfg = get_config(config, overrides)
    weights = pretrained or ""
    if weights is True:
        weights = row.name if row else OmegaConf.select(cfg, "published.weights")
        if not weights:
            raise UserError(
                f"No published weights fill the model of config {name}: give pretrained a path, a "
                "URL or a name of `python -m mvit_det.checkpoint.published`, or False for random "
                "weights."
            )
    model = build_model(cfg, "cpu").eval()
    if weights:
        inflation = OmegaConf.select(cfg, "train.inflation") or "centre"
        StrictCheckpointer(model, complete=True, inflation=inflation).load(os.fspath(weights))
    return model
