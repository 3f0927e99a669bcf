"""Weights of any published format, under one set of names."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvit_det.checkpoint.formats import FORMATS, Format, recognise
from mvit_det.checkpoint.layout import STEM, Layout, layout_of
from mvit_det.checkpoint.reading import read_file
from mvit_det.checkpoint.reasons import why_unknown
from mvit_det.errors import UserError

# Keys under which training programs put the tensors of their model.
WRAPPERS = ("model", "model_state", "state_dict", "model_state_dict")


@dataclass(frozen=True)
class Weights:
    """The content of a file of weights.

    Attributes:
        path: where it was read from.
        format: key of ``FORMATS``; None if it is no MViT, and its names are as they were.
        tensors: canonical name -> tensor, as precise as in the file; it may share the file's memory
            and must not be written to.
        sources: canonical name -> name in the file.
        left_out: name in the file -> why it is not among ``tensors``.
        layout: which network it is; None if it is no MViT.
        companions: what the file holds beside the model, such as the state of an optimizer.
    """

    path: str
    format: str | None
    tensors: dict[str, torch.Tensor]
    sources: dict[str, str]
    left_out: dict[str, str]
    layout: Layout | None
    companions: dict[str, Any] = field(default_factory=dict, repr=False)


def read_weights(path: str | Path) -> Weights:
    """Read a file of weights of any format that is known, without running code from it.

    Raises:
        UserError: it cannot be read, asks for more than arrays, or holds no tensors.
    """
    return from_content(read_file(path), path)


def from_content(content: Any, path: str | Path) -> Weights:
    """The weights in what a file holds; ``path`` names it in messages."""
    entries, companions = _unwrap(content, path)
    # files of distributed training may put the name of the wrapper before every tensor's
    if entries and all(str(name).startswith("module.") for name in entries):
        entries = {name.removeprefix("module."): value for name, value in entries.items()}
    found, left_out = {}, {}
    for name, value in entries.items():
        tensor = as_tensor(value)
        if tensor is None:
            left_out[str(name)] = f"no dense tensor of numbers, but {type(value).__name__}"
        else:
            found[str(name)] = tensor
    name = recognise(found)
    if name is None:
        sources = {name: name for name in found}
        return Weights(str(path), None, found, sources, left_out, None, companions)
    tensors, sources, unknown = _translate(found, FORMATS[name])
    return Weights(
        str(path), name, tensors, sources, left_out | unknown, layout_of(tensors), companions
    )


def as_tensor(value: Any) -> torch.Tensor | None:
    """A dense tensor of numbers on the CPU, which shares the memory of ``value``; else None."""
    if isinstance(value, np.ndarray):
        # torch wants this machine's byte order and no negative strides
        native = value.astype(value.dtype.newbyteorder("="), order="C", copy=False)
        try:
            with warnings.catch_warnings():
                # of memory that must not be written to, which is true of all tensors here
                warnings.simplefilter("ignore")
                return torch.from_numpy(native)
        except TypeError:  # numbers that torch does not have
            return None
    if not isinstance(value, torch.Tensor) or value.is_quantized:
        return None
    return value.detach() if value.layout == torch.strided else None


def _unwrap(content: Any, path: str | Path) -> tuple[Mapping, dict[str, Any]]:
    """(name -> value of the model, what the file holds beside it)."""
    if isinstance(content, Mapping):
        for key in WRAPPERS:
            inner = content.get(key)
            if isinstance(inner, Mapping) and _has_tensors(inner):
                return inner, {str(k): v for k, v in content.items() if k != key}
        if _has_tensors(content):
            return content, {}
    kind = type(content).__name__
    names = ", ".join(map(repr, list(content)[:5])) if isinstance(content, Mapping) else ""
    keys = f" with {names}" if names else ""
    raise UserError(
        f"{path} holds no weights, but a {kind}{keys}: give a file that has tensors by name, as they "
        f"are or under one of {', '.join(WRAPPERS)}."
    )


def _has_tensors(content: Mapping) -> bool:
    return any(as_tensor(value) is not None for value in content.values())


def _translate(
    found: Mapping[str, torch.Tensor], form: Format
) -> tuple[dict[str, torch.Tensor], dict[str, str], dict[str, str]]:
    """(canonical name -> tensor, canonical name -> name in the file, name in the file -> reason)."""
    tensors, sources, unknown = {}, {}, {}
    canonical = form.canonical(found)
    for name, tensor in found.items():
        ours = canonical.get(name)
        if ours is None:
            unknown[name] = why_unknown(name, form.title)
        elif ours in tensors:
            unknown[name] = f"it is a second {ours}, beside {sources[ours]}"
        else:
            missing_axes = form.unit_axes.get(ours, 0)
            tensors[ours] = tensor.reshape((1,) * missing_axes + tuple(tensor.shape))
            sources[ours] = name
    if STEM in tensors and tensors[STEM].ndim == 4:
        # NOTE: PySlowFast pools images by 1x3x3 convolutions, (C, 1, 1, 3, 3); 3x3 is the same.
        for name, tensor in tensors.items():
            if ".attn.pool_" in name and tensor.ndim == 5 and tensor.shape[2] == 1:
                tensors[name] = tensor.squeeze(2)
    return tensors, sources, unknown
