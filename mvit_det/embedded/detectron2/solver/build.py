"""Parameter groups with a learning rate and a weight decay each."""

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
    """Make the parameter groups of an optimiser: one per distinct set of hyper-parameters.

    None leaves a hyper-parameter to the optimiser's default. A later rule overrides an earlier one:
    base values, normalisation layers, ``lr_factor_func``, biases, ``overrides``.

    Args:
        model: its parameters that require a gradient are grouped.
        base_lr: the learning rate.
        weight_decay: that of all parameters without a rule.
        weight_decay_norm: that of normalisation layers.
        bias_lr_factor: the learning rate of biases, as a multiple of ``base_lr``.
        weight_decay_bias: that of biases.
        lr_factor_func: from a parameter's path to a multiple of ``base_lr``, for layer-wise decay.
        overrides: from the last part of a path ("pos_embed") to hyper-parameters ("weight_decay").

    Raises:
        ValueError: a multiple without ``base_lr``, or two rules for biases.
    """
    bias_rule: dict[str, float] = {}
    bias_factor = 1.0 if bias_lr_factor is None else bias_lr_factor
    if base_lr is None and (bias_factor != 1.0 or lr_factor_func is not None):
        raise ValueError("bias_lr_factor and lr_factor_func are multiples: they need base_lr.")
    if base_lr is not None and bias_factor != 1.0:
        bias_rule["lr"] = base_lr * bias_factor
    if weight_decay_bias is not None:
        bias_rule["weight_decay"] = weight_decay_bias
    rules = dict(overrides or {})
    if bias_rule and "bias" in rules:
        raise ValueError(f"Drop one rule for 'bias': overrides={rules['bias']} or {bias_rule}.")
    rules.setdefault("bias", bias_rule)

    base = {"lr": base_lr, "weight_decay": weight_decay}
    defaults = {name: value for name, value in base.items() if value is not None}
    groups: dict[tuple, list[nn.Parameter]] = {}
    owners = dict(model.named_modules())
    for path, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        owner, _, name = path.rpartition(".")
        options = dict(defaults)
        if weight_decay_norm is not None and isinstance(owners[owner], _NORMS):
            options["weight_decay"] = weight_decay_norm
        if lr_factor_func is not None and base_lr is not None:
            options["lr"] = base_lr * lr_factor_func(f"{owner}.{name}")
        options.update(rules.get(name, {}))
        groups.setdefault(tuple(options.items()), []).append(parameter)
    return [{**dict(options), "params": parameters} for options, parameters in groups.items()]
