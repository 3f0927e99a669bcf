"""Networks in half precision, while what surrounds them stays in float32.

Proposals, the arithmetic of boxes and NMS need float32: a coordinate in bfloat16 is wrong by up to
4 pixels at 1000. So the types are part of the program, and no runtime has to guess.
"""

from typing import Any

import torch

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
# which a runtime computes on the CPU, in its own kernels or by converting
ALLOWED = {
    "onnx": ("fp32", "fp16"),
    "openvino": ("fp32", "bf16", "int8"),
    "torch_export": ("fp32", "bf16", "fp16"),
}


def lower(program: Any, precision: str) -> None:
    """Convert the networks of a `Program` in place; their inputs and outputs stay float32."""
    dtype = DTYPES[precision]
    for module in program.networks():
        module.to(dtype)
        module.register_forward_pre_hook(lambda _, inputs: _cast(inputs, dtype))
        module.register_forward_hook(lambda *given: _cast(given[-1], torch.float32))


def _cast(values: Any, dtype: torch.dtype) -> Any:
    """Convert the floating-point tensors in tuples, lists and dicts."""
    if isinstance(values, torch.Tensor):
        return values.to(dtype) if values.is_floating_point() else values
    if isinstance(values, dict):
        return {name: _cast(value, dtype) for name, value in values.items()}
    if isinstance(values, (tuple, list)):
        return type(values)(_cast(value, dtype) for value in values)
    return values
