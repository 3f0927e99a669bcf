"""Find the tensors of a network among what training programs put around them.

torch.compile, DistributedDataParallel, Lightning and transformers prefix the names of a network;
many programs keep a moving average (EMA) of the weights next to them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvit_det.checkpoint.layout import STEM
from mvit_det.checkpoint.reasons import is_configured
from mvit_det.errors import UserError, shorten_list

# Keys under which training programs put the tensors of their model.
WRAPPERS = ("model", "model_state", "state_dict", "model_state_dict", "module", "net", "network")
MAX_DEPTH = 4  # of dicts within dicts
# Keys, and parts of names, of a moving average; the last one is that of this project's files.
AVERAGE = re.compile(r"(.*_)?(ema|averaged?|swa)(_.*)?|averagedweights", re.IGNORECASE)
# Programs that save the average in place of the weights: where the weights are, and a sign of it.
SWAPPED = {"current_model_state": "averaging_state", "ema_state_dict": "message_hub"}
# What torch inserts into the names of a module that it wraps, at any depth.
INSERTED = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
PARALLEL = re.compile(r"(?<![^.])module\.")
BACKBONES = ("backbone.bottom_up.", "backbone.")  # prefixes that are part of a format
# The first convolution, in all formats.
STEMS = (STEM, "patch_embed.projection.weight", "conv_proj.weight")


@dataclass(frozen=True)
class Network:
    """What a file holds of one network.

    Attributes:
        values: name without prefixes -> value, most of them tensors.
        left_out: name -> why it is not among ``values``.
        companions: other entries of the file.
        average: how the moving average of the weights was treated; "" if the file has none.
    """

    values: dict[str, Any]
    left_out: dict[str, str]
    companions: dict[str, Any]
    average: str = ""


def unwrap(content: Any, path: str | Path, average: bool) -> Network:
    """Extract the network from the content of a file.

    Args:
        content: values by name, at the top level or under one of ``WRAPPERS``.
        path: name of the file, for messages.
        average: whether to take the moving average of the weights, where the file has one.

    Raises:
        UserError: the content holds no tensors, or more than one network.
    """
    alone, found = "", _find(content)
    if found is None:  # no weights, but perhaps their average
        alone, values = next(_averages(content, set()), ("", {}))
        found = (values, {}) if values else None
    if found is None:
        kind = type(content).__name__
        names = ", ".join(map(repr, list(content)[:5])) if isinstance(content, Mapping) else ""
        keys = f" with {names[:200]}" if names else ""
        raise UserError(
            f"{path} holds a {kind}{keys} and not weights: give a file that has tensors by name, "
            f"at its top level or under one of {', '.join(WRAPPERS)}."
        )
    values, companions = found
    network, averages = _split(values, path)
    if alone:
        return replace(network, average=f"the moving average (EMA) in {alone}, without weights")
    network = replace(network, companions=companions)
    for key, sign in SWAPPED.items():
        weights = _find(companions.get(key)) if sign in companions else None
        if weights and average:
            return replace(network, average=f"the moving average (EMA); the weights are in {key}")
        if weights:
            values = _split(weights[0], path)[0].values
            return replace(network, values=values, average=f"the weights in {key}")
    for key, values in _averages(companions, set()):
        averages[key] = _split(values, path)[0].values
    return _choose(network, averages, average)


def is_tensor(value: Any) -> bool:
    """Return whether a value of a file is an array of any kind."""
    return isinstance(value, (torch.Tensor, np.ndarray))


def _find(content: Any, depth: int = 0) -> tuple[Mapping, dict[str, Any]] | None:
    """Find the model's values by name, and the other entries around them."""
    if not isinstance(content, Mapping) or depth > MAX_DEPTH:
        return None
    for key in WRAPPERS:
        if found := _find(content.get(key), depth + 1):
            others = {str(k): value for k, value in content.items() if k != key}
            return found[0], others | found[1]
    return (content, {}) if any(map(is_tensor, content.values())) else None


def _averages(
    entries: Any, visited: set[int], where: tuple[str, ...] = ()
) -> Iterator[tuple[str, Mapping]]:
    """Yield place and values of each moving average in the entries of a file, however deep."""
    if not isinstance(entries, Mapping) or len(where) > MAX_DEPTH or id(entries) in visited:
        return
    visited.add(id(entries))
    for key, entry in entries.items():
        here = (*where, str(key))
        if not AVERAGE.fullmatch(str(key)):
            yield from _averages(entry, visited, here)
        elif found := _find(entry):
            yield ".".join(here), found[0]


def _split(values: Mapping, path: str | Path) -> tuple[Network, dict[str, dict[str, Any]]]:
    """Split values by name into those of the network, and averages that have a prefix of theirs.

    Raises:
        UserError: there is more than one network.
    """
    named = {INSERTED.sub("", str(name)): value for name, value in values.items()}
    prefixes = _prefixes(named)
    if any(map(PARALLEL.search, prefixes)):
        named = {PARALLEL.sub("", name): value for name, value in named.items()}
        prefixes = _prefixes(named)
    elif not prefixes and all(name.startswith("module.") for name in named):
        named = {name.removeprefix("module."): value for name, value in named.items()}
    averaged = [p for p in prefixes if any(map(AVERAGE.fullmatch, p.split(".")[:-1]))]
    usual = [p for p in prefixes if p in ("", *BACKBONES)]  # a second network is a part of it
    networks = usual[:1] or [p for p in prefixes if p not in averaged] or averaged[:1] or [""]
    if len(networks) > 1:
        raise UserError(
            f"{path} holds {len(networks)} networks, {shorten_list(networks)}: save the state_dict "
            "of one of them alone."
        )
    ours = _wrapper(networks[0], named)
    beside = tuple(_wrapper(prefix, named) for prefix in averaged if prefix not in networks)
    network, left_out = _under(ours, named), {}
    for name, value in named.items():
        if name.startswith(ours) or name.startswith(beside):
            continue
        if name in network:
            left_out[name] = f"a second {name}, next to {ours}{name}"
        else:
            network[name] = value
    averages = {prefix.removesuffix("."): _under(prefix, named) for prefix in beside}
    return Network(network, left_out, {}), averages


def _prefixes(names: Mapping[str, Any]) -> list[str]:
    """Return what precedes the first convolution of each network among the names."""
    ends = [(name, stem) for name in names for stem in STEMS if f".{name}".endswith(f".{stem}")]
    return [name.removesuffix(stem) for name, stem in ends]


def _wrapper(prefix: str, names: Mapping[str, Any]) -> str:
    """Return the part of a prefix that is no part of any format: all but ``backbone.``.

    What users call a backbone, but has a head, is a network that they wrapped.
    """
    inside = tuple(prefix + part for part in ("head.", "norm.", "stages."))
    for part in BACKBONES:
        if f".{prefix}".endswith(f".{part}") and not any(n.startswith(inside) for n in names):
            return prefix.removesuffix(part)
    return prefix


def _under(prefix: str, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values whose names have a prefix, without it."""
    return {n.removeprefix(prefix): value for n, value in named.items() if n.startswith(prefix)}


def _choose(network: Network, averages: Mapping[str, Mapping], average: bool) -> Network:
    """Take the first average that is complete, if there is one and it is wanted."""
    tensors = [n for n, v in network.values.items() if is_tensor(v) and not is_configured(n)]
    note = ""
    for key, values in averages.items():
        absent = [name for name in tensors if not is_tensor(values.get(name))]
        if absent:
            lacks = shorten_list(absent, 3)
            note = f"the weights; the moving average (EMA) in {key} lacks {lacks}"
        elif average:
            taken = {name: values.get(name, value) for name, value in network.values.items()}
            return replace(network, values=taken, average=f"the moving average (EMA) in {key}")
        else:
            note = f"the weights, not their moving average (EMA) in {key}"
    return replace(network, average=note)
