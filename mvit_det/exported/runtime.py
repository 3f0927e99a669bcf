"""An exported model in the runtime of its format."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mvit_det.errors import UserError, excerpt
from mvit_det.exported.formats import FILES, RUNTIMES, check_packages

Tensors = Sequence[torch.Tensor]
Run = Callable[[Tensors], list[torch.Tensor]]


def open_runtime(folder: Path, form: str, outputs: Mapping[str, Any]) -> Run:
    """Open the model of a folder; the result maps input tensors to output tensors.

    Raises:
        UserError: the file is damaged, or the runtime is not installed.
    """
    check_packages(form, *RUNTIMES[form])
    path = folder / FILES[form]
    opener = {"onnx": _open_onnx, "openvino": _open_openvino, "torch_export": _open_torch}[form]
    try:
        return opener(path, list(outputs))
    except Exception as error:  # each runtime has its own
        raise UserError(
            f"{path} cannot be opened ({type(error).__name__}: {excerpt(error)}): export again."
        ) from error


def _open_onnx(path: Path, outputs: list[str]) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(inputs: Tensors) -> list[torch.Tensor]:
        feed = {name: x.numpy() for name, x in zip(names, inputs)}
        return [torch.from_numpy(x) for x in session.run(outputs, feed)]

    return run


def _open_openvino(path: Path, outputs: list[str]) -> Run:
    # by default, processors with bfloat16 compute in it whatever the file says
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    model = _openvino_core().compile_model(path, "CPU", config)

    def run(inputs: Tensors) -> list[torch.Tensor]:
        results = model([x.numpy() for x in inputs])
        return [torch.from_numpy(results[name].copy()) for name in outputs]

    return run


@cache
def _openvino_core() -> Any:
    """Return the one that this process keeps to its end.

    Each has a signal stack of its own, and gives back the one before it when it goes, although that
    may be gone: the next signal, such as the end of a data loader's worker, then stops the process.
    """
    import openvino

    return openvino.Core()


def _open_torch(path: Path, outputs: list[str]) -> Run:
    module: Any = torch.export.load(path).module(check_guards=False)

    def run(inputs: Tensors) -> list[torch.Tensor]:
        with torch.no_grad():
            return list(module(*inputs))

    return run
