"""What is measured: the variants of a config's model, and inputs for it."""

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
from mvit_det.tasks.config import arguments_of

DETECTOR_SIZE = (800, 1280)  # height and width of the paper's Table 5


def backbone_key(cfg: DictConfig) -> str:
    """Config key of the backbone without its pyramid; behind ``model`` also its module's path."""
    for key in ("model.backbone.bottom_up", "model.backbone", "model"):
        if OmegaConf.select(cfg, key) is not None:
            return key
    raise UserError("This config has no `model`, which is what the benchmark builds and measures.")


def has_switch(cfg: DictConfig) -> bool:
    """Whether the backbone can be built with fused and with plain attention."""
    return "fused_attention" in arguments_of(OmegaConf.select(cfg, backbone_key(cfg)))


def nominal_size(cfg: DictConfig) -> tuple[int, ...] | None:
    """Height and width that a recognizer is made for, frames before them; None for detectors."""
    node = OmegaConf.select(cfg, backbone_key(cfg))
    parameter = arguments_of(node).get("input_size")
    return parameter and tuple(node.get("input_size", parameter.default))


def input_shape(cfg: DictConfig, batch: int, size: Sequence[int] | None) -> list[int]:
    """(B, 3, H, W), or (B, 3, T, H, W) for clips.

    Args:
        size: height and width, if they are not to be those that the model is made for.
    """
    nominal = nominal_size(cfg) or DETECTOR_SIZE
    return [batch, 3, *nominal[:-2], *(size or nominal[-2:])]


def build(cfg: DictConfig, root: str, fused: bool = False) -> nn.Module:
    """What the key ``root`` describes, with fused or plain attention where there is a choice."""
    changed = copy.deepcopy(cfg)
    if has_switch(cfg):
        OmegaConf.update(changed, f"{backbone_key(cfg)}.fused_attention", fused)
    return instantiate(OmegaConf.select(changed, root))


def build_to_count(cfg: DictConfig, root: str, device: torch.device) -> nn.Module:
    """The model with plain attention, on the device if it has to be there to be counted.

    A recognizer is counted by shapes, so it gets no memory: it is on the meta device.
    """
    if nominal_size(cfg) is None:
        return build(cfg, root).to(device)
    with torch.device("meta"):
        return build(cfg, root)


def build_variants(cfg: DictConfig, root: str) -> dict[str, nn.Module]:
    """What the key ``root`` describes, with fused and with plain attention, on the same weights.

    Returns:
        ``fused`` and ``plain``; only ``model`` where the backbone has no such switch.
    """
    if not has_switch(cfg):
        return {"model": build(cfg, root)}
    models = {"fused": build(cfg, root, fused=True), "plain": build(cfg, root)}
    models["plain"].load_state_dict(models["fused"].state_dict())
    return models


def views_of(cfg: DictConfig) -> tuple[int, int] | None:
    """Crops and clips of a video that the config tests with; None if it does not say."""
    keys = ("dataloader.test.mapper.transform.crops", "dataloader.test.dataset.clips")
    views = tuple(OmegaConf.select(cfg, key) for key in keys)
    return None if None in views else views


def backbones_alone(
    cfg: DictConfig, models: dict[str, nn.Module], inputs: Any
) -> tuple[dict[str, nn.Module], torch.Tensor]:
    """The backbones of ``build_variants``, joined by ``build_twin``'s, and their input.

    Args:
        inputs: of the models, for evaluation.
    """
    if isinstance(inputs, torch.Tensor):
        backbones, images = dict(models), inputs
    else:
        path = backbone_key(cfg).removeprefix("model.")
        backbones = {name: model.get_submodule(path) for name, model in models.items()}
        images = next(iter(models.values())).preprocess_image(inputs).tensor
    twin = build_twin(cfg, backbones["fused"]) if "fused" in backbones else None
    if twin is not None:
        backbones["detectron2"] = twin.to(images.device)
    return backbones, images


def build_twin(cfg: DictConfig, ours: nn.Module) -> nn.Module | None:
    """Detectron2's own MViT with the arguments of the config and the weights of ``ours``.

    Returns:
        None where the host has no MViT, where arguments that only ours takes make it another
        network, or where it does not take theirs (it has three stages at least).
    """
    theirs = getattr(detectron2.modeling, "MViT", None)
    if theirs is None:
        return None
    node = OmegaConf.select(copy.deepcopy(cfg), backbone_key(cfg))
    known = arguments_of(node)
    for name in set(node) - {"_target_", *inspect.signature(theirs).parameters}:
        if name != "fused_attention" and node[name] != known[name].default:
            return None
        del node[name]
    node["_target_"] = theirs
    try:
        twin = instantiate(node)
    except IndexError:  # of last_block_indexes
        return None
    twin.load_state_dict(ours.state_dict())
    return twin


def make_inputs(
    model: nn.Module, task: Task, shape: Sequence[int], device: torch.device
) -> tuple[Any, Any]:
    """Random inputs for evaluation and for training; of a bare backbone (B, 3, H, W) for both."""
    if isinstance(model, detectron2.modeling.Backbone):
        images = torch.randn(*shape, device=device)
        return images, images
    return task.random_inputs(model, shape, device)
