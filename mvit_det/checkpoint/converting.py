"""Write weights in the format of another code base."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from mvit_det.checkpoint.formats import FORMATS
from mvit_det.checkpoint.layout import Layout
from mvit_det.checkpoint.reasons import DETECTOR, is_configured
from mvit_det.checkpoint.weights import Weights, check_real
from mvit_det.errors import UserError, shorten_list
from mvit_det.files import atomic_file

INPUTS = {2: "images", 3: "clips"}


def translate(
    weights: Weights, target: str
) -> tuple[dict[str, torch.Tensor], dict[str, str], dict[str, str]]:
    """Translate weights into the names and shapes of another format.

    Args:
        weights: as read from a file.
        target: key of ``FORMATS``.

    Returns:
        Target name -> tensor, a copy; source name -> target name; source name -> why it is left
        out.

    Raises:
        UserError: models of the target format cannot represent this network, or its numbers are
            not floating-point ones.
    """
    form, layout = FORMATS[target], _check_convertible(weights, target)
    detector = [name for name in weights.tensors if DETECTOR.fullmatch(name)]
    prefix = form.prefix
    if "{other}" in form.rows and detector:
        pyramid = any(name.startswith("backbone.fpn_") for name in detector)
        prefix = "backbone.bottom_up." if pyramid else "backbone."
    for name, tensor in weights.tensors.items():
        if not is_configured(name):
            check_real(weights.sources[name], tensor, weights.path)
    theirs = form.from_canonical(weights.tensors, layout, prefix)
    left_out, impossible = {}, []
    for name in weights.tensors:
        if name not in theirs:
            reason = form.why_left_out(name)
            left_out[weights.sources[name]] = str(reason)
            impossible += [name] if reason is None else []
    if impossible:
        raise UserError(
            f"{weights.path} cannot be written for {form.title}, whose models lack "
            f"{shorten_list(impossible, 3)}: choose another --to."
        )
    tensors = {
        theirs[name]: _to_format_shape(name, tensor, target)
        for name, tensor in weights.tensors.items()
        if name in theirs
    }
    return tensors, {weights.sources[name]: their for name, their in theirs.items()}, left_out


def _check_convertible(weights: Weights, target: str) -> Layout:
    """Return the network of the weights.

    Raises:
        UserError: models of the target format cannot represent it.
    """
    form, layout = FORMATS[target], weights.layout
    if layout is None:
        raise UserError(
            f"{weights.path} is not an MViT of a known format, so it cannot be converted: give one."
        )
    if layout.axes not in form.axes:
        why = f"is for {INPUTS[layout.axes]}, and its models take {INPUTS[form.axes[0]]} only"
    elif layout.expand_in not in (None, *form.expand_in):
        why = "widens its channels in the MLP, and its models can do so in the attention only"
    elif form.needs_class_token and not layout.class_token:
        why = "has no class token, and its models always have one"
    elif "{other}" not in form.rows and any(map(DETECTOR.fullmatch, weights.tensors)):
        why = "is a detector, and its models are classifiers"
    else:
        return layout
    raise UserError(
        f"{weights.path} cannot be written for {form.title}: it {why}; choose another --to."
    )


def _to_format_shape(name: str, tensor: torch.Tensor, target: str) -> torch.Tensor:
    """Copy a tensor from its canonical shape into the shape of the target format."""
    tensor = tensor.reshape(tensor.shape[FORMATS[target].unit_axes.get(name, 0) :])
    if target == "pyslowfast" and ".attn.pool_" in name and tensor.ndim == 4:
        tensor = tensor.unsqueeze(2)  # PySlowFast pools images with 1x3x3 convolutions
    # clone: torch.save writes the whole storage of a view
    return tensor.contiguous().clone()


def check_output(path: str | Path, target: str, overwrite: bool) -> None:
    """Check that a file of a format can be written to ``path``.

    Args:
        path: file to write.
        target: key of ``FORMATS``.
        overwrite: whether ``path`` may exist.

    Raises:
        UserError: the file exists, its folder does not, or the suffix is not the format's.
    """
    path, form = Path(path), FORMATS[target]
    if path.suffix not in form.suffixes:
        raise UserError(
            f"--output {path}: files of {form.title} end in {' or '.join(form.suffixes)}."
        )
    if path.exists() and (path.is_dir() or not overwrite):
        fix = "choose a file" if path.is_dir() else "add --overwrite to replace it"
        raise UserError(f"--output {path} exists: {fix}.")
    if not path.resolve().parent.is_dir():
        raise UserError(f"--output {path}: its folder does not exist, create it first.")


def write_weights(
    tensors: Mapping[str, torch.Tensor], target: str, path: str | Path, overwrite: bool = False
) -> None:
    """Write named tensors into a file of a format, with its wrapper key and companions.

    Args:
        tensors: name in the target format -> tensor, as from `translate`.
        target: key of ``FORMATS``.
        path: file to write; its suffix selects pickle, safetensors or ``torch.save``.
        overwrite: whether ``path`` may exist.

    Raises:
        UserError: as for `check_output`, or the file cannot be written.
    """
    check_output(path, target, overwrite)
    path, form = Path(path), FORMATS[target]
    content = {form.wrapper: dict(tensors), **form.companions} if form.wrapper else dict(tensors)
    try:
        with atomic_file(path) as partial:
            _SAVERS.get(path.suffix, torch.save)(content, partial)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"--output {path} cannot be written ({reason}): free space, or choose another folder."
        ) from error


def _save_pickle(content: dict[str, Any], path: Path) -> None:
    content = {
        key: {name: _to_array(t) for name, t in value.items()} if isinstance(value, dict) else value
        for key, value in content.items()
    }
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol=4)


def _to_array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:
        raise UserError("These weights are bfloat16, which a .pkl cannot hold: write a .pth.")
    return tensor.numpy()


_SAVERS: dict[str, Callable[[Any, Any], object]] = {".pkl": _save_pickle, ".safetensors": save_file}
