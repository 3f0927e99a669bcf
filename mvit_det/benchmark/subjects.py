"""Build the models and inputs to measure: the variants of a config's model, and random inputs."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import detectron2.modeling
import torch
from detectron2.config import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvit_det.errors import UserError
from mvit_det.tasks import Task
from mvit_det.tasks.base import arguments_of

DETECTOR_SIZE = (800, 1280)  # height and width of the paper's Table 5


def backbone_key(cfg: DictConfig) -> str:
    """Return the config key of the backbone without pyramid; its module path follows ``model.``.

    Raises:
        UserError: the config has no ``model``.
    """
    for key in ("model.backbone.bottom_up", "model.backbone", "model"):
        if OmegaConf.select(cfg, key) is not None:
            return key
    raise UserError("This config has no `model` to benchmark: add it.")


def has_attention_switch(cfg: DictConfig) -> bool:
    """Return whether the backbone can be built with fused and with plain attention."""
    return "fused_attention" in arguments_of(OmegaConf.select(cfg, backbone_key(cfg)))


def nominal_size(cfg: DictConfig) -> tuple[int, ...] | None:
    """Return a recognizer's nominal ([T,] H, W) in frames and pixels; None for detectors."""
    node = OmegaConf.select(cfg, backbone_key(cfg))
    parameter = arguments_of(node).get("input_size")
    return None if parameter is None else tuple(node.get("input_size", parameter.default))


def input_shape(cfg: DictConfig, batch: int, size: Sequence[int] | None) -> list[int]:
    """Return the input shape: (B, 3, H, W), or (B, 3, T, H, W) for clips.

    Args:
        cfg: config with the model.
        batch: number of samples B.
        size: height and width in pixels; None for the nominal size of the model.
    """
    nominal = nominal_size(cfg) or DETECTOR_SIZE
    return [batch, 3, *nominal[:-2], *(size or nominal[-2:])]


def build_module(cfg: DictConfig, root: str, fused: bool = False) -> nn.Module:
    """Build the module at config key ``root``, with fused or plain attention if it has both."""
    changed = copy.deepcopy(cfg)
    if has_attention_switch(cfg):
        OmegaConf.update(changed, f"{backbone_key(cfg)}.fused_attention", fused)
    return instantiate(OmegaConf.select(changed, root))


def build_for_counting(cfg: DictConfig, root: str, device: torch.device) -> nn.Module:
    """Build the module at config key ``root`` with plain attention for counting.

    A detector is built on ``device``. A recognizer is counted from shapes, so it is built on the
    meta device and takes no memory.
    """
    if nominal_size(cfg) is None:
        return build_module(cfg, root).to(device)
    with torch.device("meta"):
        return build_module(cfg, root)


def build_variants(cfg: DictConfig, root: str) -> dict[str, nn.Module]:
    """Build the module at config key ``root`` with fused and plain attention and equal weights.

    Returns:
        ``fused`` and ``plain``; only ``model`` if the backbone has no such switch.
    """
    if not has_attention_switch(cfg):
        return {"model": build_module(cfg, root)}
    models = {"fused": build_module(cfg, root, fused=True), "plain": build_module(cfg, root)}
    models["plain"].load_state_dict(models["fused"].state_dict())
    return models


def video_views(cfg: DictConfig) -> tuple[int, int] | None:
    """Return (crops, clips) per video in the config's test; None if it lacks the keys."""
    keys = ("dataloader.test.mapper.transform.crops", "dataloader.test.dataset.clips")
    crops, clips = (OmegaConf.select(cfg, key) for key in keys)
    return None if None in (crops, clips) else (crops, clips)


def extract_backbones(
    cfg: DictConfig, models: dict[str, nn.Module], inputs: Any
) -> tuple[dict[str, nn.Module], torch.Tensor]:
    """Collect our backbones, Detectron2's from `build_detectron2_mvit`, and their input.

    Args:
        cfg: config of the models.
        models: whole models or bare backbones from `build_variants`.
        inputs: inputs of the models for evaluation.

    Returns:
        name -> backbone, and normalised images (B, 3, H, W).
    """
    if isinstance(inputs, torch.Tensor):
        backbones, images = dict(models), inputs
    else:
        path = backbone_key(cfg).removeprefix("model.")
        backbones = {name: model.get_submodule(path) for name, model in models.items()}
        detector: Any = next(iter(models.values()))
        images = detector.preprocess_image(inputs).tensor
    theirs = build_detectron2_mvit(cfg, backbones["fused"]) if "fused" in backbones else None
    if theirs is not None:
        backbones["detectron2"] = theirs.to(images.device)
    return backbones, images


def build_detectron2_mvit(cfg: DictConfig, ours: nn.Module) -> nn.Module | None:
    """Build Detectron2's MViT with the arguments of the config and the weights of ``ours``.

    Returns:
        None if the host has no MViT, if arguments that only ours has change the network, or if
        Detectron2's constructor fails (it needs at least three stages).
    """
    their_class = getattr(detectron2.modeling, "MViT", None)
    if their_class is None:
        return None
    node = OmegaConf.select(copy.deepcopy(cfg), backbone_key(cfg))
    arguments = arguments_of(node)
    for name in set(node) - {"_target_", *inspect.signature(their_class).parameters}:
        if name != "fused_attention" and node[name] != arguments[name].default:
            return None
        del node[name]
    node["_target_"] = their_class
    try:
        theirs = instantiate(node)
    except IndexError:  # of last_block_indexes
        return None
    theirs.load_state_dict(ours.state_dict())
    return theirs


def make_inputs(
    model: nn.Module, task: Task, shape: Sequence[int], device: torch.device
) -> tuple[Any, Any]:
    """Create random inputs of ``shape`` for evaluation and training, in the task's format.

    For a bare backbone, both are the same tensor (B, 3, H, W).
    """
    if isinstance(model, detectron2.modeling.Backbone):
        images = torch.randn(*shape, device=device)
        return images, images
    return task.random_inputs(model, shape, device)
