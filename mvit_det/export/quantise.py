"""Weights and activations of convolutions and matrix products in int8, by NNCF."""

from collections.abc import Sequence
from pathlib import Path

import torch

from mvit_det.exported.formats import FILES

# Only products of matrices are quantised: int8 has no room for coordinates of boxes.
IN_FLOAT = ("Add", "Subtract", "Multiply", "Divide", "Power", "Exp", "Maximum", "Minimum", "Clamp")


def quantise(folder: Path, samples: Sequence[Sequence[torch.Tensor]]) -> None:
    """Replace the OpenVINO model of a folder by its quantised form.

    Args:
        folder: has the float32 model.
        samples: inputs of the model, on which ranges of activations are measured.
    """
    import nncf
    import openvino

    path = folder / FILES["openvino"]
    model = openvino.Core().read_model(path)
    data = nncf.Dataset([[x.numpy() for x in sample] for sample in samples])
    quantised = nncf.quantize(
        model,
        data,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(types=list(IN_FLOAT), validate=False),
    )
    del model  # it maps the files that are now replaced
    for old in (path, path.with_suffix(".bin")):
        old.unlink()
    openvino.save_model(quantised, path, compress_to_fp16=False)
