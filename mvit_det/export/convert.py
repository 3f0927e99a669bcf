"""From a program of a task to ONNX, OpenVINO or a `torch.export` file."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.fx.experimental._config as tracer_config
import torchvision  # noqa: F401  registers the operators of detectors

from mvit_det.export.precision import DTYPES, lower
from mvit_det.exported.formats import FILES

logger = logging.getLogger(__name__)

OPSET = 18  # of ONNX; the first with RoIAlign and Resize as they are needed


def fixed_axes(
    ports: Mapping[str, tuple[str, str, str]], size: Sequence[int] | None
) -> dict[str, tuple[str, str, str]]:
    """Return ports of one sample whose axes H and W are the numbers ``size``; or as given."""
    if size is None:
        return dict(ports)
    numbers = {"N": "1", "H": str(size[0]), "W": str(size[1])}
    return {
        name: (dtype, ",".join(numbers.get(axis, axis) for axis in axes.split(",")), meaning)
        for name, (dtype, axes, meaning) in ports.items()
    }


def write(
    program: Any,
    examples: Sequence[torch.Tensor],
    folder: Path,
    form: str,
    precision: str,
    inputs: Mapping[str, tuple[str, str, str]],
) -> None:
    """Write a program, whose networks are converted in place, before any quantisation.

    Args:
        program: as for `trace`.
        examples: as for `trace`.
        folder: gets ``FILES[form]``.
        form: a key of `FILES`.
        precision: "fp32", "fp16", "bf16", or "int8", which is written as "fp32".
        inputs: those of the program; axes that are letters are dynamic.
    """
    if precision in DTYPES:
        lower(program, precision)
    logger.info("Tracing the model ...")
    exported = trace(program, examples, inputs)
    logger.info("Converting it to %s ...", form)
    save(exported, folder, form, inputs, program.outputs)


def trace(
    program: Any, examples: Sequence[torch.Tensor], ports: Mapping[str, tuple[str, str, str]]
) -> torch.export.ExportedProgram:
    """Trace a program.

    Args:
        program: in evaluation mode, on the CPU.
        examples: its inputs, with at least 2 samples where the batch is not fixed.
        ports: its inputs; axes that are letters are dynamic.
    """
    dynamic = tuple(
        {i: torch.export.Dim.DYNAMIC for i, axis in enumerate(axes.split(",")) if axis.isalpha()}
        for _, axes, _ in ports.values()
    )
    # Otherwise the tracer adds a condition for each size that might be 1.
    oblivious = tracer_config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with torch.no_grad(), oblivious, quiet():
        return torch.export.export(program, tuple(examples), dynamic_shapes=dynamic, strict=False)


def save(
    exported: torch.export.ExportedProgram,
    folder: Path,
    form: str,
    inputs: Mapping[str, tuple[str, str, str]],
    outputs: Mapping[str, tuple[str, str, str]],
) -> None:
    """Write ``FILES[form]`` to a folder, and what belongs to it."""
    path = folder / FILES[form]
    if form == "torch_export":
        torch.export.save(exported, path)
        return
    onnx_path = folder / FILES["onnx"]
    save_onnx(exported, onnx_path, inputs, outputs)
    if form == "openvino":
        import openvino

        openvino.save_model(openvino.convert_model(onnx_path), path, compress_to_fp16=False)
        for file in folder.glob(f"{onnx_path.name}*"):
            file.unlink()


def save_onnx(
    exported: torch.export.ExportedProgram,
    path: Path,
    inputs: Mapping[str, tuple[str, str, str]],
    outputs: Mapping[str, tuple[str, str, str]],
) -> None:
    """Write an ONNX file; weights of more than 1.5 GB lie next to it."""
    with quiet():
        program = torch.onnx.export(
            exported,
            (),
            dynamo=True,
            optimize=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
        )
    assert program is not None
    name_axes(program.model.graph, inputs, outputs)
    size = sum(x.numel() * x.element_size() for x in exported.state_dict.values())
    with quiet():
        program.save(path, external_data=size > 1.5e9)


def name_axes(graph: Any, *ports: Mapping[str, tuple[str, str, str]]) -> None:
    """Name the dynamic axes of inputs and outputs in a graph of onnxscript's IR."""
    for values, group in zip((graph.inputs, graph.outputs), ports):
        for value, (_, axes, _) in zip(values, group.values()):
            shape = [int(axis) if axis.isdigit() else axis for axis in axes.split(",")]
            value.shape = type(value.shape)(shape) if value.shape is not None else value.shape


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the warnings of the tracer and of the converter about themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
