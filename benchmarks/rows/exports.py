"""Exported models in onnxruntime and OpenVINO, against the peer's network in PyTorch float32.

Each model is exported once, in a process of its own; weights are random, as in the rows of the same
networks. int8 is calibrated on the measured input, so that its difference is that of the arithmetic
alone. Of detectors the scores are compared, best first; masks are those before pasting on both
sides.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from rows import Options, Row
from rows.detectors import CONFIGS, QUICK, TEST, build_pair
from rows.networks import CLASSIFIERS, backbone_pair, classifier_pair, fixed_input, runs

# format, precision -> its name, and the packages that it needs
FORMATS = {
    ("onnx", "fp32"): ("onnxruntime", ("onnxscript", "onnxruntime")),
    ("openvino", "fp32"): ("OpenVINO", ("onnxscript", "openvino")),
    ("openvino", "bf16"): ("OpenVINO", ("onnxscript", "openvino")),
    ("openvino", "int8"): ("OpenVINO", ("onnxscript", "openvino", "nncf")),
}
# row -> (description, peer, its module, whether also with a fixed size)
MODELS = {
    "backbone": ("backbone T, 1 x 1024 x 1024", "Detectron2", "detectron2", True),
    "mask-rcnn": ("Mask R-CNN T, 1 x {} x {}".format(*TEST), "Detectron2", "detectron2", True),
    "classifier": ("classifier T, 8 x 224 x 224", "timm", "timm", False),
}
INPUTS, WEIGHTS = "inputs.pt", "weights.pth"  # in the folder of the row


def rows() -> Iterator[Row]:
    """Yield the rows."""
    for model, (what, peer, module, fixed) in MODELS.items():
        for (form, precision), (runtime, packages) in FORMATS.items():
            for static in (False, True)[: 1 + fixed]:
                yield Row(
                    f"exported-{model}-{form}-{precision}" + "-static" * static,
                    f"{what}, {runtime} {precision}, {'this' if static else 'any'} size",
                    f"{peer}, float32",
                    module,
                    partial(_build, model, form),
                    precisions=False,
                    prepare=partial(_export, model, form, precision, static),
                    named=precision == "int8",
                    packages=packages,
                )


class BackboneProgram(nn.Module):
    """The feature maps of a backbone, in the form of the programs of tasks."""

    inputs: ClassVar = {"images": ("float32", "N,3,H,W", "normalised")}

    def __init__(self, network: Any):
        super().__init__()
        self.network = network
        self.outputs = dict.fromkeys(network.output_shape(), ("float32", "N,C,H,W", ""))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the maps of (N, 3, H, W)."""
        return tuple(self.network(images).values())

    def networks(self) -> list[nn.Module]:
        """Return the parts that may compute in half precision."""
        return [self.network]

    def example_shape(self, size: Any) -> tuple[int, ...]:
        """Return the shape of one image to trace with."""
        return 3, *(size or (160, 192))

    def encode(self, images: torch.Tensor, inputs: Any) -> tuple[torch.Tensor]:
        """Return the input of the program."""
        return (images,)


def _ours(model: str, options: Options) -> tuple[Any, Callable[..., Any], tuple[int, ...]]:
    """Build a program; return it, what draws its batches from a shape, and the measured shape."""
    if model == "backbone":
        network, x = backbone_pair("t", 1024, "ours", options)
        return BackboneProgram(network).eval(), fixed_input, tuple(x.shape)
    from mvit_det.tasks import task_of

    if model == "classifier":
        from mvit_det.recognition.program import ClassifierProgram

        wrapper, x = classifier_pair(*CLASSIFIERS[model], "ours", options)
        program = ClassifierProgram(wrapper.model.eval()).eval()
        return program, lambda *shape: {"inputs": fixed_input(*shape)}, tuple(x.shape)
    cfg, detector = build_pair(CONFIGS[model], "ours", options.quick)
    torch.save(detector.state_dict(), Path(options.folder) / WEIGHTS)
    task = task_of(cfg)
    program = task.program(detector.eval()).eval()
    return program, partial(_pictures, task, detector), (1, 3, *_size(options))


def _export(model: str, form: str, precision: str, static: bool, options: Options) -> None:
    """Export a model to the folder, and write the measured input."""
    from mvit_det.export import convert
    from mvit_det.export.quantise import quantise

    folder = Path(options.folder)
    program, draw, shape = _ours(model, options)
    size = shape[-2:] if static else None
    ports = convert.fixed_axes(program.inputs, size)
    inputs = program.encode(draw(*shape), ports)
    torch.save((inputs, list(program.outputs)), folder / INPUTS)
    example = draw(1 if static else 2, *program.example_shape(size))
    convert.write(program, program.encode(example, ports), folder, form, precision, ports)
    if precision == "int8":
        quantise(folder, [inputs], lambda item: item)


def _build(model: str, form: str, side: str, options: Options) -> Callable[[], Any]:
    """Return a function that runs one side once, and returns maps or scores."""
    folder = Path(options.folder)
    if side == "ours":
        from mvit_det.exported.runtime import open_runtime

        inputs, names = torch.load(folder / INPUTS)
        run = open_runtime(folder, form, names)
        compared = [i for i, name in enumerate(names) if name == "scores" or "scores" not in names]
        return lambda: list(map(run(inputs).__getitem__, compared))
    options = replace(options, precision="float32")
    if model == "backbone":
        return runs(*backbone_pair("t", 1024, side, options), False, options)
    if model == "classifier":
        logits = runs(*classifier_pair(*CLASSIFIERS[model], side, options), False, options)
        return lambda: logits()[0].softmax(-1)
    return _detectron2(model, options)


def _detectron2(model: str, options: Options) -> Callable[[], Any]:
    """Return a function that runs Detectron2's detector without pasting masks."""
    from mvit_det.tasks import task_of

    cfg, network = build_pair(CONFIGS[model], "peer", options.quick)
    network.load_state_dict(torch.load(Path(options.folder) / WEIGHTS))
    detector: Any = network.eval()
    batch = _pictures(task_of(cfg), network, 1, 3, *_size(options))

    def run() -> torch.Tensor:
        with torch.no_grad():
            return detector.inference(batch, do_postprocess=False)[0].scores

    return run


def _size(options: Options) -> tuple[int, int]:
    return QUICK if options.quick else TEST


def _pictures(task: Any, detector: nn.Module, *shape: int) -> Any:
    """Draw the same pictures for both sides, whatever has been drawn before."""
    torch.manual_seed(1)
    return task.random_inputs(detector, shape, torch.device("cpu"))[0]
