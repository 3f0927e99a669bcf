"""Parameter groups: weight decay per parameter and learning rate per layer."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from mvit_det.checkpoint.layout import backbone_prefix
from mvit_det.errors import UserError

_BLOCK = re.compile(r"blocks\.(\d+)\.")
_POSITIONS = re.compile(r"(^|\.)(cls_token$|pos_embed|rel_pos)")


def classification_parameters(
    model: nn.Module, base_lr: float, *, layer_decay: float = 1.0, decay_positions: bool = True
) -> list[dict[str, Any]]:
    """Group parameters as in the classification recipe, for any torch optimizer.

    One-dimensional tensors and all biases have no weight decay; all other parameters use the
    optimizer's. (The released COCO recipe treats biases and positions the other way round: see
    ``configs/common/optim.py``.) Works by parameter name, for classifiers and detectors.

    Args:
        model: frozen parameters are omitted.
        base_lr: learning rate of the last norm and the head; of everything if ``layer_decay=1``.
        layer_decay: learning rate of each layer relative to the next one, in (0, 1]. Layers are
            counted as in facebookresearch/mvit: see `layer_ids`.
        decay_positions: whether class token and position embeddings decay, as they do in all
            released MViTv2 recipes.

    Returns:
        One dict per layer and decay with ``params``, ``lr``, and ``weight_decay`` where it is 0.

    Raises:
        UserError: ``layer_decay`` is out of range, or is below 1 for a model without an MViT.
    """
    if not 0.0 < layer_decay <= 1.0:
        raise UserError(
            f"optimizer.params.layer_decay={layer_decay} must be in (0, 1]; 1 turns it off."
        )
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    depths = dict.fromkeys(trained, 0)  # layers between the parameter and the head
    if layer_decay < 1.0:
        ids = layer_ids(trained)
        depths = {name: max(ids.values()) - layer for name, layer in ids.items()}
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in trained.items():
        no_decay = (
            parameter.ndim <= 1
            or name.endswith(".bias")
            or (not decay_positions and _POSITIONS.search(name) is not None)
        )
        group = groups.setdefault(
            (depths[name], no_decay), {"params": [], "lr": base_lr * layer_decay ** depths[name]}
        )
        if no_decay:
            group["weight_decay"] = 0.0
        group["params"].append(parameter)
    return list(groups.values())


def layer_ids(names: Iterable[str]) -> dict[str, int]:
    """Map each parameter name to the index of its layer.

    Returns:
        name -> 0 for patch embedding, class token and absolute position; i + 1 for block i; depth +
        1 for everything after the blocks: norms, heads, and a detector's pyramid.

    Raises:
        UserError: no name belongs to an MViT.
    """
    names = list(names)
    prefix = backbone_prefix(names)
    if prefix is None:
        raise UserError(
            "optimizer.params.layer_decay below 1 counts the blocks of an MViT, and this model has "
            "no trainable MViT: set optimizer.params.layer_decay=1."
        )
    inside = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    blocks = {name: int(m[1]) for name, rest in inside.items() if (m := _BLOCK.match(rest))}
    after_blocks = max(blocks.values()) + 2
    ids = {}
    for name in names:
        stem = inside.get(name, "").startswith(("patch_embed.", "cls_token", "pos_embed"))
        ids[name] = 0 if stem else blocks.get(name, after_blocks - 1) + 1
    return ids
