"""The command line of export."""

import json
import logging
import platform
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from copy import deepcopy
from importlib.metadata import version
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import nn

import mvit_det
from mvit_det import engine
from mvit_det.data.synthetic.shapes import draw_picture
from mvit_det.engine import add_config_flags, apply_overrides, load_config
from mvit_det.errors import UserError, exit_on_user_error
from mvit_det.export import convert, parity
from mvit_det.export.precision import ALLOWED
from mvit_det.export.quantise import quantise
from mvit_det.exported.folder import MODEL_JSON, ExportedModel
from mvit_det.exported.formats import CONVERTERS, FILES, RUNTIMES, check_packages
from mvit_det.exported.runtime import open_runtime
from mvit_det.predict.arguments import add_model_flags
from mvit_det.predict.predictor import Predictor
from mvit_det.predict.sources import Picture, find_sources

logger = logging.getLogger("mvit_det.export")
# what a task predicts -> the script that does so
SCRIPTS = {
    "pictures": "run_pictures.py",
    "videos": "run_videos.py",
    "key frames": "run_actions.py",
}
# shapes of the pictures that are drawn for the proof, (H, W)
DRAWN = ((160, 160), (120, 160), (160, 100))


def argument_parser() -> ArgumentParser:
    """Build the parser of ``python -m mvit_det.export``."""
    parser = ArgumentParser(
        description="Write a trained model as a folder that runs where no PyTorch is: the model, "
        "model.json, which describes it, run.py, which predicts with it, and a picture with its "
        "results. The exported model is compared with the PyTorch model before the command ends."
    )
    add_model_flags(parser)
    parser.add_argument(
        "--format",
        choices=FILES,
        default="onnx",
        help="onnx (default) for onnxruntime and others, openvino, or torch_export",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "bf16", "int8"),
        default="fp32",
        help="of the networks; boxes are computed in fp32 (default). onnx: fp32, fp16; openvino: "
        "fp32, bf16, int8; torch_export: fp32, fp16, bf16",
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="fix the inputs: one sample of this size in pixels; default: any number of any size",
    )
    parser.add_argument(
        "--calibration",
        nargs="+",
        default=[],
        metavar="PICTURES",
        help="pictures, folders or quoted glob patterns: three of them are compared in the PyTorch "
        "and the exported model (default: drawn ones), and int8 measures its ranges on all of "
        "them, 100 to 500 of the kind that the model is for",
    )
    parser.add_argument(
        "--no-evaluate",
        dest="evaluate",
        action="store_false",
        help="with a --precision other than fp32: do not measure what it costs. By default both "
        "models are evaluated on the config's test data, and model.json states the metrics",
    )
    parser.add_argument(
        "--class-names", metavar="NAMES", help="as for mvit_det.predict; default: the config's"
    )
    add_config_flags(parser)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the config")
    return parser


def main(args: Namespace) -> dict[str, Any]:
    """Export, prove and describe a model; return its description, as in model.json.

    Raises:
        UserError: the model cannot be exported, or its results differ from the PyTorch model's.
    """
    check_arguments(args)
    cfg = apply_overrides(load_config(args.config_file, args.allow_target), args.overrides)
    predictor = Predictor(
        args.config_file,
        args.weights,
        overrides=args.overrides,
        allow_targets=args.allow_target,
        device="cpu",
        class_names=args.class_names,
    )
    task = predictor.task
    preprocessing = task.preprocessing(cfg)
    program = task.program(predictor.model).eval()
    inputs = convert.fixed_axes(program.inputs, args.size)
    sources = calibration_pictures(args, predictor)
    pictures = [read(source) for source in sources[:3]] or draw_pictures(args.size)
    batches = proof_batches(predictor, program, pictures, args.size)
    for batch in batches:
        program.encode(batch, inputs)  # refuses what does not fit a fixed size
    lowered = args.precision != "fp32" and args.evaluate
    metrics = {"fp32, PyTorch": evaluate(cfg, predictor.model)} if lowered else {}
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_JSON).unlink(missing_ok=True)  # a folder is complete only with it

    write_model(args, predictor, program, inputs)
    if args.precision == "int8":
        logger.info("Quantising it on %d pictures ...", len(sources))
        inference = predictor.inference

        def encode(source: Picture) -> Any:
            return program.encode(inference.batch([inference.prepare(read(source))]), inputs)

        quantise(folder, sources, encode)
    logger.info("Comparing it with the PyTorch model ...")
    run = open_runtime(folder, args.format, program.outputs)
    figures = parity.measure(program, run, batches, inputs)
    if args.precision == "fp32":
        parity.check(figures, args.format)

    if task.inputs in SCRIPTS:
        shutil.copyfile(Path(__file__).with_name(SCRIPTS[task.inputs]), folder / "run.py")
    if task.inputs == "pictures":
        write_example(predictor, folder, pictures[0])
    description = {
        "mvit_det": mvit_det.__version__,
        "task": type(task).__name__,
        "format": args.format,
        "precision": args.precision,
        "inputs": describe(inputs),
        "outputs": describe(program.outputs),
        "preprocessing": preprocessing,
        "categories": predictor.categories,
        "made_from": {"config": str(args.config_file), "weights": str(args.weights)},
        "made_with": versions(args.format),
        "parity": {"tolerance": parity.TOLERANCE, **parity.summarise(figures), "batches": figures},
    }
    write_description(folder, description)
    logger.info("Largest differences: %s", parity.summarise(figures))
    if lowered:
        model = ExportedModel(folder, task)
        metrics[f"{args.precision}, {args.format}"] = evaluate(cfg, model)
        logger.info("Metrics on the test data: %s", metrics)
        description["metrics"] = metrics
        write_description(folder, description)
    logger.info("Wrote %s", folder)
    return description


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """Write model.json."""
    (folder / MODEL_JSON).write_text(json.dumps(description, indent=1) + "\n", "utf-8")


def evaluate(cfg: DictConfig, model: nn.Module) -> dict[str, Any]:
    """Return the metrics of a model on the test data of a config, task -> metric -> value or None.

    Raises:
        UserError: there are no such data.
    """
    cfg = deepcopy(cfg)
    with TemporaryDirectory() as folder:
        changes = {"train.output_dir": folder, "train.device": "cpu"}
        for key, value in changes.items():
            OmegaConf.update(cfg, key, value)
        try:
            results = engine.evaluate(cfg, model=model)
        except UserError as error:
            raise UserError(
                f"{error} (What --precision costs is measured on the test data of the config; "
                "--no-evaluate leaves it out.)"
            ) from error
    # JSON has no nan, which stands for what these data cannot measure
    return {
        task: {name: None if isnan(value) else value for name, value in metrics.items()}
        for task, metrics in results.items()
    }


def check_arguments(args: Namespace) -> None:
    """Raise a `UserError` for what can be known before the model is built."""
    if args.precision not in ALLOWED[args.format]:
        raise UserError(
            f"--precision {args.precision} is not possible with --format {args.format}: choose "
            f"{' or '.join(ALLOWED[args.format])}."
        )
    more = ["nncf"] if args.precision == "int8" else []
    check_packages(args.format, *needed_packages(args.format), *more)
    if mvit_det.host() != "embedded":
        raise UserError(
            "Export needs the embedded Detectron2: set the environment variable "
            "MVIT_DET_HOST=embedded."
        )
    if args.size and min(args.size) < 32:
        raise UserError(f"--size {args.size[0]} {args.size[1]} must be at least 32 32.")


def calibration_pictures(args: Namespace, predictor: Predictor) -> list[Picture]:
    """Return the pictures of --calibration; a `UserError` if int8 has none."""
    given = find_sources(args.calibration, args.output) if args.calibration else []
    if args.precision == "int8" and (not given or predictor.task.inputs != "pictures"):
        raise UserError(
            "--precision int8 needs --calibration PICTURES, and is for models of pictures."
        )
    return [Picture(source.path, predictor.pictures) for source in given]


def write_model(args: Namespace, predictor: Predictor, program: Any, inputs: Any) -> None:
    """Write the program in the format, before any quantisation."""
    shape = (1 if args.size else 2, *program.example_shape(args.size))
    example, _ = predictor.task.random_inputs(predictor.model, shape, torch.device("cpu"))
    examples = program.encode(example, inputs)
    convert.write(program, examples, Path(args.output), args.format, args.precision, inputs)


def describe(ports: Any) -> dict[str, dict[str, str]]:
    """Convert inputs or outputs for model.json."""
    keys = "dtype", "axes", "meaning"
    return {name: dict(zip(keys, port)) for name, port in ports.items()}


def needed_packages(form: str) -> tuple[str, ...]:
    """Return the packages that write and run a format."""
    return (*CONVERTERS.get(form, ()), *RUNTIMES[form])


def versions(form: str) -> dict[str, str]:
    """Return the versions of Python and of the packages that a format needs."""
    packages = ["torch", "torchvision", *needed_packages(form)]
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def read(source: Picture) -> np.ndarray:
    """Read a picture as (H, W, 3) uint8 BGR, as prediction does."""
    try:
        (frame,) = source.frames()
    except UserError as error:
        raise UserError(f"--calibration {source.path} cannot be read ({error}).") from error
    return frame.image


def draw_pictures(size: Sequence[int] | None) -> list[np.ndarray]:
    """Draw three pictures (H, W, 3) uint8 BGR, of several sizes or of ``size``."""
    drawn = []
    for seed, (height, width) in enumerate([size] * 3 if size else DRAWN):
        rng = np.random.default_rng(seed)
        side = max(height, width, 96)  # with room for its shapes
        picture, _ = draw_picture(rng, side, 5, (24, 80))
        drawn.append(np.ascontiguousarray(picture[:height, :width, ::-1]))
    return drawn


def proof_batches(
    predictor: Predictor, program: Any, pictures: Sequence[np.ndarray], size: Sequence[int] | None
) -> list[Any]:
    """Return inputs of the model of three sizes, or of the fixed one."""
    inference, task = predictor.inference, predictor.task
    batches = []
    if task.inputs == "pictures":
        samples = [inference.prepare(picture) for picture in pictures]
        batches = [inference.batch([sample]) for sample in samples]
        if task.gives_boxes and not size:
            batches.append(inference.batch(samples))
    if task.gives_boxes:
        return batches
    *rest, height, width = program.example_shape(size)
    for count, more in [(1, 0)] if size else [(1, 0), (2, 32), (3, 64)]:
        shape = (count, *rest, height + more, width + more // 2)
        batches.append(task.random_inputs(predictor.model, shape, torch.device("cpu"))[0])
    return batches


def write_example(predictor: Predictor, folder: Path, picture: np.ndarray) -> None:
    """Write a picture and the entries of predictions.json that `predict` would give for it."""
    Image.fromarray(picture[:, :, ::-1]).save(folder / "example.png")
    rows = predictor.inference.rows(predictor(picture), 1, predictor.categories)
    (folder / "example.json").write_text(json.dumps(rows), "utf-8")


def run_command(arguments: Sequence[str], prog: str) -> None:
    """Run one command line, with ``prog`` as the program name."""
    parser = argument_parser()
    parser.prog = prog
    args = parser.parse_args(arguments)
    setup_logger(name="mvit_det")
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with exit_on_user_error():
        main(args)


if __name__ == "__main__":
    run_command(sys.argv[1:], "python -m mvit_det.export")
