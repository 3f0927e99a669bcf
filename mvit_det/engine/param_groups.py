"""Which parameters decay, and how fast each layer of a vision transformer learns."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from mvit_det.checkpoint.layout import backbone_prefix
from mvit_det.errors import UserError

_BLOCK = re.compile(r"blocks\.(\d+)\.")
_POSITIONS = re.compile(r"(^|\.)(cls_token$|pos_embed|rel_pos)")


def classification_parameters(
    model: nn.Module,
    base_lr: float,
    *,
    layer_decay: float = 1.0,
    decay_positions: bool = True,
) -> list[dict[str, Any]]:
    """Parameter groups of the classification recipe, for any optimizer of torch; as few as possible.

    Tensors of one axis, and biases of any shape, do not decay; all else decays as the optimizer is
    told to. (The released COCO recipe has it the other way round for biases and positions: see
    ``configs/common/optim.py``.) Works for classifiers and for detectors, by parameter name.

    Args:
        base_lr: learning rate of the last norm and the head, and of all with ``layer_decay=1``.
        layer_decay: each layer learns this many times as fast as the one behind it, in (0, 1].
            Layers are counted as in facebookresearch/mvit: see `layer_ids`.
        decay_positions: whether class token and position embeddings decay, as they do in all
            released MViTv2 recipes.

    Raises:
        UserError: ``layer_decay`` is out of range, or the model has no transformer to decay along.
    """
    if not 0.0 < layer_decay <= 1.0:
        raise UserError(f"optimizer.params.layer_decay={layer_decay} must be in (0, 1]; 1 is none.")
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    below = dict.fromkeys(trained, 0)
    if layer_decay < 1.0:
        ids = layer_ids(trained)
        below = {name: max(ids.values()) - layer for name, layer in ids.items()}
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in trained.items():
        spared = (
            parameter.ndim <= 1
            or name.endswith(".bias")
            or (not decay_positions and _POSITIONS.search(name) is not None)
        )
        group = groups.setdefault(
            (below[name], spared), {"params": [], "lr": base_lr * layer_decay ** below[name]}
        )
        if spared:
            group["weight_decay"] = 0.0
        group["params"].append(parameter)
    return list(groups.values())


def layer_ids(names: Iterable[str]) -> dict[str, int]:
    """Number the layers of a model by its parameters' names.

    Returns:
        name -> 0 for patch embedding, class token and absolute position; i + 1 for block i; depth +
        1 for what comes behind the blocks: norms, heads, and a detector's pyramid.
    """
    names = list(names)
    prefix = backbone_prefix(names)
    if prefix is None:
        raise UserError(
            "optimizer.params.layer_decay below 1 needs an MViT, whose blocks it counts, and this "
            "model has none that trains: set optimizer.params.layer_decay=1."
        )
    inside = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    blocks = {name: int(m[1]) for name, rest in inside.items() if (m := _BLOCK.match(rest))}
    behind = max(blocks.values()) + 2
    ids = {}
    for name in names:
        stem = inside.get(name, "").startswith(("patch_embed.", "cls_token", "pos_embed"))
        ids[name] = 0 if stem else blocks.get(name, behind - 1) + 1
    return ids
