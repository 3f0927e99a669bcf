"""Which parameters train with which learning rate and weight decay."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

__all__ = ["get_default_optimizer_params"]

# _NormBase: batch norm and instance norm of every dimension, and SyncBatchNorm.
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)


def _trainable(model: nn.Module) -> Iterator[tuple[str, str, nn.Module, nn.Parameter]]:
    """(path of the owner, name within it, owner, parameter), each shared parameter once."""
    owners = dict(model.named_modules())
    for path, parameter in model.named_parameters():
        owner, _, name = path.rpartition(".")
        if parameter.requires_grad:
            yield owner, name, owners[owner], parameter


def _bias_rule(
    base_lr: float | None, lr_factor: float | None, weight_decay: float | None
) -> dict[str, float]:
    """The hyper-parameters in which biases differ from other parameters."""
    rule = {}
    if lr_factor not in (None, 1.0):
        if base_lr is None:
            raise ValueError("bias_lr_factor needs base_lr, of which it is a multiple.")
        rule["lr"] = base_lr * lr_factor
    if weight_decay is not None:
        rule["weight_decay"] = weight_decay
    return rule


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
        weight_decay_norm: for the parameters of normalisation layers.
        bias_lr_factor: multiple of ``base_lr`` for parameters named "bias".
        weight_decay_bias: for parameters named "bias".
        lr_factor_func: from a parameter's path to a multiple of ``base_lr``, as in layer-wise decay.
        overrides: from the last part of a path ("pos_embed") to hyper-parameters ("weight_decay").

    Returns:
        dicts of "params" (in the model's order) and hyper-parameters, by first occurrence.

    Raises:
        ValueError: a multiple without ``base_lr``, or "bias" is ruled twice.
    """
    if lr_factor_func is not None and base_lr is None:
        raise ValueError("lr_factor_func needs base_lr, of which it gives multiples.")
    rules = dict(overrides or {})
    bias_rule = _bias_rule(base_lr, bias_lr_factor, weight_decay_bias)
    if bias_rule and "bias" in rules:
        raise ValueError(
            f"'bias' is ruled twice, by overrides={rules['bias']} and by {bias_rule}: drop one."
        )
    if bias_rule:
        rules["bias"] = bias_rule

    given = {"lr": base_lr, "weight_decay": weight_decay}
    defaults = {name: value for name, value in given.items() if value is not None}
    groups: dict[tuple, list[nn.Parameter]] = {}
    for owner, name, module, parameter in _trainable(model):
        chosen = dict(defaults)
        if weight_decay_norm is not None and isinstance(module, _NORMS):
            chosen["weight_decay"] = weight_decay_norm
        if lr_factor_func is not None:
            chosen["lr"] = base_lr * lr_factor_func(f"{owner}.{name}")
        chosen.update(rules.get(name, {}))
        groups.setdefault(tuple(chosen.items()), []).append(parameter)
    return [{**dict(chosen), "params": parameters} for chosen, parameters in groups.items()]
