"""Read weights of any published format under canonical names."""

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
from mvit_det.checkpoint.unwrapping import unwrap
from mvit_det.errors import UserError, shorten_list

MAX_REPEATED = 2**30  # bytes of a tensor whose numbers the file does not hold one by one


@dataclass(frozen=True)
class Weights:
    """The content of a weight file.

    Attributes:
        path: where it was read from.
        format: key of ``FORMATS``; None if it is not an MViT: then names stay unchanged.
        tensors: canonical name -> tensor, in the dtype of the file; it may share the file's memory
            and must not be written to.
        sources: canonical name -> name in the file.
        left_out: name in the file -> why it is not among ``tensors``.
        layout: the network; None if it is not an MViT.
        companions: other entries of the file, such as the optimizer state.
        average: how the moving average of the weights was treated; "" if the file has none.
    """

    path: str
    format: str | None
    tensors: dict[str, torch.Tensor]
    sources: dict[str, str]
    left_out: dict[str, str]
    layout: Layout | None
    companions: dict[str, Any] = field(default_factory=dict, repr=False)
    average: str = ""


def read_weights(path: str | Path, average: bool = True) -> Weights:
    """Read a weight file of any known format, without running code from it.

    Args:
        path: file on this machine.
        average: whether to take the moving average (EMA) of the weights, where the file has one.

    Raises:
        UserError: it cannot be read, refers to more than arrays, or holds no tensors, or those of
            more than one network.
    """
    weights = from_content(read_file(path), path, average)
    empty = [weights.sources[name] for name, tensor in weights.tensors.items() if tensor.is_meta]
    if empty:
        raise UserError(
            f"{path} has only the shapes of {shorten_list(empty, 3)}, saved on torch's meta "
            "device: give a file with their numbers."
        )
    return weights


def from_content(content: Any, path: str | Path, average: bool = True) -> Weights:
    """Extract the weights from the content of a file.

    Args:
        content: as from `read_file`: tensors by name, at the top level or under the keys of
            training programs (`unwrap`).
        path: name of the file, for messages.
        average: as for `read_weights`.

    Raises:
        UserError: the content holds no tensors, or those of more than one network.
    """
    network = unwrap(content, path, average)
    file_tensors, left_out = {}, network.left_out
    for name, value in network.values.items():
        tensor = as_tensor(value)
        if tensor is None:
            left_out[name] = f"not a dense tensor of numbers, but {type(value).__name__}"
        else:
            file_tensors[name] = tensor
    form = recognise(file_tensors)
    tensors, sources = file_tensors, {name: name for name in file_tensors}
    unknown: dict[str, str] = {}
    layout = None
    if form:
        tensors, sources, unknown = _translate(file_tensors, FORMATS[form])
        layout = layout_of(tensors)
    return Weights(
        str(path),
        form,
        tensors,
        sources,
        left_out | unknown,
        layout,
        network.companions,
        network.average,
    )


def as_tensor(value: Any) -> torch.Tensor | None:
    """Convert to a dense torch tensor of the same shape and dtype; None if impossible.

    Args:
        value: numpy array or torch tensor, whose memory the result shares where that is possible;
            anything else gives None.
    """
    if isinstance(value, np.ndarray):
        # torch requires this machine's byte order and no negative strides
        native = value.astype(value.dtype.newbyteorder("="), order="C", copy=False)
        try:
            with warnings.catch_warnings():
                # about read-only memory: no tensor here is ever written to
                warnings.simplefilter("ignore")
                return torch.from_numpy(native)
        except TypeError:  # a dtype that torch does not have
            return None
    if not isinstance(value, torch.Tensor) or value.is_quantized or value.is_nested:
        return None
    if value.layout != torch.strided:
        return None
    # A few bytes, repeated by strides of 0, could stand for more than memory holds.
    repeated = value.nbytes > max(value.untyped_storage().nbytes(), MAX_REPEATED)
    return None if repeated else value.detach()


def check_real(name: str, tensor: torch.Tensor, path: str) -> None:
    """Check that a tensor of a network has floating-point numbers.

    Raises:
        UserError: they are complex or integer, of which another network would be made silently.
    """
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise UserError(
            f"{path} holds {kind} numbers in {name}, and weights are floating-point ones: it is "
            "quantized, or of another program; give the file that it was made from."
        )


def _translate(
    file_tensors: Mapping[str, torch.Tensor], form: Format
) -> tuple[dict[str, torch.Tensor], dict[str, str], dict[str, str]]:
    """Translate names: returns ``tensors``, ``sources`` and ``left_out`` as in `Weights`."""
    tensors, unknown = {}, {}
    sources: dict[str, str] = {}
    canonical = form.to_canonical(file_tensors)
    for name, tensor in file_tensors.items():
        ours = canonical.get(name)
        if ours is None:
            unknown[name] = why_unknown(name, form.title)
        elif ours in tensors:
            unknown[name] = f"a second {ours}, which is already {sources[ours]}"
        else:
            missing_axes = form.unit_axes.get(ours, 0)
            tensors[ours] = tensor.reshape((1,) * missing_axes + tuple(tensor.shape))
            sources[ours] = name
    if STEM in tensors and tensors[STEM].ndim == 4:
        # NOTE: PySlowFast pools images with 1x3x3 convolutions, (C, 1, 1, 3, 3), which equal 3x3.
        for name, tensor in tensors.items():
            if ".attn.pool_" in name and tensor.ndim == 5 and tensor.shape[2] == 1:
                tensors[name] = tensor.squeeze(2)
    return tensors, sources, unknown
