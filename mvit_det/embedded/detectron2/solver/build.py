"""Which parameters train with which learning rate and weight decay."""

from collections.abc import Callable
from typing import Any

from torch import nn

# _NormBase: batch norm and instance norm of every dimension, and SyncBatchNorm.
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    lr_factor_func: Callable[[str], float] | None = None,
    overrides: dict[str, dict[str, float]] | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: one for each set of hyper-parameters that occurs.

    What is None is left to the optimiser's own default. A later rule wins over an earlier one:
    base values, normalisation layers, ``lr_factor_func``, biases, ``overrides``.

    Args:
        lr_factor_func: from a parameter's path to a multiple of ``base_lr``, for layer-wise decay.
        overrides: from the last part of a path ("pos_embed") to hyper-parameters ("weight_decay").
    """
    bias_rule: dict[str, float] = {}
    scales_bias = bias_lr_factor not in (None, 1.0)
    if base_lr is None and (scales_bias or lr_factor_func is not None):
        raise ValueError("bias_lr_factor and lr_factor_func are multiples: they need base_lr.")
    if scales_bias:
        bias_rule["lr"] = base_lr * bias_lr_factor
    if weight_decay_bias is not None:
        bias_rule["weight_decay"] = weight_decay_bias
    rules = dict(overrides or {})
    if bias_rule and "bias" in rules:
        raise ValueError(f"Drop one rule for 'bias': overrides={rules['bias']} or {bias_rule}.")
    rules.setdefault("bias", bias_rule)

    given = {"lr": base_lr, "weight_decay": weight_decay}
    defaults = {name: value for name, value in given.items() if value is not None}
    groups: dict[tuple, list[nn.Parameter]] = {}
    owners = dict(model.named_modules())
    for path, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        owner, _, name = path.rpartition(".")
        chosen = dict(defaults)
        if weight_decay_norm is not None and isinstance(owners[owner], _NORMS):
            chosen["weight_decay"] = weight_decay_norm
        if lr_factor_func is not None:
            chosen["lr"] = base_lr * lr_factor_func(f"{owner}.{name}")
        chosen.update(rules.get(name, {}))
        groups.setdefault(tuple(chosen.items()), []).append(parameter)
    return [{**dict(chosen), "params": parameters} for chosen, parameters in groups.items()]
