"""Describe a weight file, or convert it: ``python -m mvit_det.checkpoint --help``."""

import re
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from mvit_det.checkpoint.class_order import (
    class_names,
    describe_class_order,
    write_class_names,
)
from mvit_det.checkpoint.converting import check_output, translate, write_weights
from mvit_det.checkpoint.formats import FORMATS
from mvit_det.checkpoint.layout import Layout, absent_names
from mvit_det.checkpoint.published import fetch, find
from mvit_det.checkpoint.reasons import DETECTOR
from mvit_det.checkpoint.report import format_notes
from mvit_det.checkpoint.weights import Weights, read_weights
from mvit_det.errors import UserError, exit_on_user_error

# Tensors that classifiers have after the blocks.
HEADS = ("norm.weight", "norm.bias", "head.projection.weight", "head.projection.bias")


def argument_parser() -> ArgumentParser:
    """Build the parser: one file to read and, to convert it, one to write."""
    parser = ArgumentParser(
        description="Describe a weight file; with --to and --output, convert it into the format of "
        "another code base. No code in the file is run.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--weights",
        dest="file",
        metavar="FILE",
        help="a path, a URL or the name of published weights",
    )
    source.add_argument("file", nargs="?", default=SUPPRESS, metavar="FILE", help="the same")
    parser.add_argument(
        "--no-ema",
        action="store_true",
        help="take the weights, also where the file has their moving average (EMA)",
    )
    parser.add_argument("--to", choices=FORMATS, help="the format to write")
    parser.add_argument("--output", metavar="FILE", help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace --output if it exists")
    return parser


def main(args: Namespace) -> Weights:
    """Describe a weight file on standard output and, with ``--to``, convert it.

    Returns:
        The weights read.

    Raises:
        UserError: the file cannot be read, or cannot be converted to the format.
    """
    if bool(args.to) != bool(args.output):
        raise UserError("--to and --output belong together: give both to convert, or neither.")
    if args.to:
        check_output(args.output, args.to, args.overwrite)
    weights = read_weights(fetch(args.file), average=not args.no_ema)
    print("\n".join(describe_weights(weights)))
    if args.to:
        tensors, renamed, left_out = translate(weights, args.to)
        names = class_names(weights) if weights.sources.get(HEADS[2]) in renamed else []
        written = names and write_class_names(names, args.output, args.overwrite)
        write_weights(tensors, args.to, args.output, args.overwrite)
        print(f"\nWrote {len(tensors)} tensors for {FORMATS[args.to].title} to {args.output}.")
        if written:
            print(f"Wrote the {len(names)} class names to {written}.")
        if note := describe_class_order(weights, names, args.to):
            print(note)
        missing = [name for name in HEADS if name not in weights.tensors]
        if missing and args.to not in ("detectron2", "mvit_det"):
            print(f"Missing from the file, so not written: {', '.join(missing)}.")
        for line in format_notes({"Left out,": left_out}):
            print(line)
        changed = {old: new for old, new in renamed.items() if old != new}
        print(f"Renamed {len(changed)}" + (", for example:" if changed else "."))
        for old, new in list(changed.items())[:3]:
            print(f"  {old} -> {new}")
    return weights


def describe_weights(weights: Weights) -> list[str]:
    """Describe a file in lines: its format, its network, and the tensors that cannot be used."""
    numbers = sum(tensor.numel() for tensor in weights.tensors.values())
    dtypes = sorted({str(t.dtype).removeprefix("torch.") for t in weights.tensors.values()})
    facts = {"file": weights.path, "format": format_title(weights)}
    layout = weights.layout
    if layout:
        facts |= {
            "network": str(layout),
            "grid of tokens": " x ".join(map(str, layout.grid or ())) or "unknown",
            **clip_facts(weights, layout),
            "channels grow in": layout.expand_in or "no block",
            "class token": "yes" if layout.class_token else "no",
            "head": head_title(weights, layout),
        }
    facts["tensors"] = f"{len(weights.tensors)} of {numbers:,} numbers, {', '.join(dtypes)}"
    if weights.average:
        facts["taken"] = weights.average
    if weights.companions:
        facts["other entries"] = ", ".join(weights.companions)
    lines = [f"{name + ':':18}{fact}" for name, fact in facts.items()]
    absent = absent_names(weights.tensors, layout) if layout else []
    not_finite = [
        name
        for name, tensor in weights.tensors.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    notes = {
        "incomplete, without": dict.fromkeys(absent, "absent"),
        "with numbers that are not finite,": dict.fromkeys(not_finite, "not finite"),
        "not used,": weights.left_out,
    }
    return lines + format_notes(notes)


def format_title(weights: Weights) -> str:
    """Name the format and, where that differs, the code base it belongs to."""
    if weights.format is None:
        return "not an MViT of a known format"
    name, owner = weights.format, FORMATS[weights.format].title
    return name if name == owner else f"{name} ({owner})"


def clip_facts(weights: Weights, layout: Layout) -> dict[str, str]:
    """Describe the nominal clip: T frames x tau (frame interval), height x width in pixels.

    Returns:
        {"clip": description}; {} for images, or if the grid is unknown.
    """
    if layout.axes == 2 or layout.grid is None:
        return {}
    # NOTE: assumes the patch stride of all released video models; no tensor records it
    frames, height, width = (n * stride for n, stride in zip(layout.grid, (2, 4, 4)))
    interval = frame_interval(weights)
    length = f"{frames} x {interval} (T x tau)" if interval else f"{frames} frames"
    return {"clip": f"{length}, {height} x {width} pixels"}


def frame_interval(weights: Weights) -> int | None:
    """Find tau, in frames, in a PySlowFast file's config or the catalog; None if unknown."""
    text = weights.companions.get("cfg")
    text = text if isinstance(text, str) else ""
    config = re.search(r"^ *SAMPLING_RATE: (\d{1,4})", text, re.MULTILINE)
    row = find(Path(weights.path).name)
    match = config or (row and re.search(r"\b\d+x(\d+)\b", row.what))
    return int(match[1]) if match else None


def head_title(weights: Weights, layout: Layout) -> str:
    """Name the heads of the network: the number of classes, or a detector's heads."""
    if layout.classes:
        return f"{layout.classes} classes"
    heads = sorted({name.split(".")[0] for name in weights.tensors if DETECTOR.fullmatch(name)})
    return ", ".join(heads) or "none"


def run_command(arguments: Sequence[str], prog: str) -> None:
    """Run one command line, named ``prog`` in its usage."""
    parser = argument_parser()
    parser.prog = prog
    with exit_on_user_error():
        main(parser.parse_args(arguments))


if __name__ == "__main__":
    run_command(sys.argv[1:], "python -m mvit_det.checkpoint")
