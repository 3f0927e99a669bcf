"""Weights and activations of convolutions and matrix products in int8, by NNCF.

NNCF leaves attention as it is, two fifths of the time then; in bfloat16 it takes half of that.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mvit_det.exported.formats import FILES

# Only products of matrices are quantised: int8 has no room for coordinates of boxes.
IN_FLOAT = ("Add", "Subtract", "Multiply", "Divide", "Power", "Exp", "Maximum", "Minimum", "Clamp")


def quantise(
    folder: Path, items: Sequence[Any], encode: Callable[[Any], Sequence[torch.Tensor]]
) -> None:
    """Replace the OpenVINO model of a folder by its quantised form.

    Args:
        folder: has the float32 model.
        items: what ranges of activations are measured on, such as pictures.
        encode: makes the inputs of the model from an item, one at a time, as they take memory.
    """
    import nncf
    import openvino

    path = folder / FILES["openvino"]
    model = openvino.Core().read_model(path)
    data = nncf.Dataset(items, lambda item: [x.numpy() for x in encode(item)])
    quantised = nncf.quantize(
        model,
        data,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(items),
        ignored_scope=nncf.IgnoredScope(types=list(IN_FLOAT), validate=False),
    )
    attend_in_bfloat16(quantised)
    del model  # it maps the files that are now replaced
    for old in (path, path.with_suffix(".bin")):
        old.unlink()
    openvino.save_model(quantised, path, compress_to_fp16=False)


def attend_in_bfloat16(model: Any) -> None:
    """Convert the inputs of attention to bfloat16, and its output back, in place."""
    from openvino import opset13

    for node in model.get_ordered_ops():
        if node.get_type_name() == "ScaledDotProductAttention":
            readers = node.output(0).get_target_inputs()
            for port in node.inputs():
                lowered = opset13.convert(port.get_source_output(), "bf16")
                port.replace_source_output(lowered.output(0))
            for port in readers:
                port.replace_source_output(opset13.convert(node.output(0), "f32").output(0))
    model.validate_nodes_and_infer_types()
