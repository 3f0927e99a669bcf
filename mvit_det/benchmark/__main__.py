"""Command line and printed report of the benchmark."""

import json
import platform
import statistics
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

import mvit_det
from mvit_det.benchmark import counts, subjects, table, timing
from mvit_det.engine import add_config_flags, apply_overrides, load_config, open_device
from mvit_det.errors import UserError, exit_on_user_error
from mvit_det.precision import PRECISIONS, add_precision_flag, open_precision
from mvit_det.tasks import task_of


def argument_parser() -> ArgumentParser:
    """Build the parser of ``python -m mvit_det.benchmark``."""
    parser = ArgumentParser(
        description="Parameters, FLOPs, time and memory of the model of any config, with random "
        "weights and inputs. Fused attention, plain attention and, for backbones, "
        "Detectron2's MViT if it is installed are measured in turn.",
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config-file", metavar="FILE", help="a .py, a .yaml, or a config's name")
    what.add_argument(
        "--table", nargs="+", metavar="FILE", help="only count: one row per config, in Markdown"
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="size of images or frames; default: a recognizer's nominal size, and 800 1280 for "
        "detectors",
    )
    parser.add_argument(
        "--batch-size", "--batch", type=int, default=1, metavar="N", help="images per run"
    )
    parser.add_argument("--device", default=device, help=f"cpu or cuda; default: {device}")
    add_precision_flag(parser)
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="rounds of timing; 0: only count"
    )
    parser.add_argument(
        "--backbone-only", action="store_true", help="measure without pyramid, proposals and heads"
    )
    parser.add_argument(
        "--output", "--json", metavar="FILE", help="JSON file to write all figures to"
    )
    add_config_flags(parser)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the config")
    return parser


def main(args: Namespace) -> dict[str, Any]:
    """Count, measure and print; return the report that ``--output`` writes (seconds, bytes).

    Raises:
        UserError: an argument is out of range, or ``--output`` cannot be written.
    """
    if min([args.batch_size, *(args.size or ())]) < 1 or args.repeats < 0:
        raise UserError("--size and --batch-size must be at least 1, --repeats at least 0.")
    if args.output and not Path(args.output).resolve().parent.is_dir():
        raise UserError(f"--output {args.output}: the folder does not exist, create it first.")
    if args.output and Path(args.output).is_dir():
        raise UserError(f"--output {args.output} is a folder: give the file to write.")
    device = open_device(args.device, "--device ")
    if device.type == "mps":
        raise UserError("--device mps cannot be measured: choose cpu or cuda.")
    open_precision(args.precision, device, "--precision ")
    report = report_table(args, device) if args.table else report_config(args, device)
    if args.output:
        Path(args.output).write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return report


def report_table(args: Namespace, device: torch.device) -> dict[str, Any]:
    """Count the models of many configs, print a Markdown table, and return the report."""
    if args.overrides or args.backbone_only or args.precision != "fp32":
        raise UserError(
            "--table counts unchanged configs: drop --backbone-only, --precision and key=value."
        )
    rows = table.make_rows(args.table, args.size, device, args.allow_target)
    sizes = " or ".join({table.format_input_size(row): None for row in rows})
    print(f"FLOPs of {sizes} pixels {counts.CONVENTION}.\n", file=sys.stderr)
    print(table.format_table(rows))
    return {**environment(device), "rows": rows}


def report_config(args: Namespace, device: torch.device) -> dict[str, Any]:
    """Count and measure the model of one config, print tables, and return the report.

    Raises:
        UserError: the config has no model, or --backbone-only does not fit it.
    """
    cfg = apply_overrides(load_config(args.config_file, args.allow_target), args.overrides)
    backbone_key = subjects.backbone_key(cfg)
    key = backbone_key if args.backbone_only else "model"
    recognizer = subjects.nominal_size(cfg) is not None
    if recognizer and args.backbone_only:
        raise UserError(
            "--backbone-only needs a detector, which this config's model is not: drop it. (A "
            "recognizer adds only a norm and a linear layer to its backbone.)"
        )
    report = {
        "config": args.config_file,
        "overrides": args.overrides,
        "measured": key,
        "repeats": args.repeats,
        "precision": args.precision,
        "input": subjects.input_shape(cfg, args.batch_size, args.size),
        **environment(device),
    }
    torch.manual_seed(0)
    if args.repeats:
        models = subjects.build_variants(cfg, key)
        models = {name: model.to(device) for name, model in models.items()}
    else:
        models = {"model": subjects.build_for_counting(cfg, key, device)}
    plain = models["plain" if "plain" in models else "model"]
    task = task_of(cfg)
    print("Counting ...", file=sys.stderr)
    report.update(counts.count(plain, task, report["input"]), convention=counts.CONVENTION)
    print_counts(report)
    if args.repeats:
        inputs = subjects.make_inputs(plain, task, report["input"], device)
        groups = {} if key == backbone_key else {"model": (models, inputs)}
        if not recognizer:
            backbones, images = subjects.extract_backbones(cfg, models, inputs[0])
            groups["backbone"] = (backbones, (images, images))
        report["times"] = {
            label: timing.measure_models(
                *group, args.repeats, device, label, PRECISIONS[args.precision]
            )
            for label, group in groups.items()
        }
        report["ratios"] = {
            label: timing.compare_models(results) for label, results in report["times"].items()
        }
        print_times(report)
    return report


def environment(device: torch.device) -> dict[str, Any]:
    """Describe device, threads, torch version and Detectron2 host, which affect the figures."""
    cuda = device.type == "cuda"
    cpu = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if cuda else cpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "host": mvit_det.host(),
    }


def print_counts(report: dict[str, Any]) -> None:
    """Print the header, and the table of parameters (M) and FLOPs (G)."""
    print(
        f"\n{report['measured']} of {' '.join([report['config'], *report['overrides']])}\n"
        f"Input {' x '.join(map(str, report['input']))}; {report['device_name']}, "
        f"{report['threads']} threads; torch {report['torch']}; {report['host']} Detectron2\n\n"
        f"Parameters and FLOPs ({report['convention']})"
    )
    rows = {**report["parts"], "total": report}
    columns = ["", "parameters, M", "FLOPs, G"]
    print_table(columns, [(n, x["parameters"] / 1e6, x["flops"] / 1e9) for n, x in rows.items()])
    not_counted = [f"{name} ({n} calls)" for name, n in report["not_counted"].items()]
    print(f"Not counted: {', '.join(not_counted) or 'only operations that are free'}\n")


def print_times(report: dict[str, Any]) -> None:
    """Print the tables of times (ms) and memory (MB), and of their ratios."""
    print(
        f"Time (median) and memory in {report['precision']}; a training step is forward and "
        "backward, without optimizer;\npeaks are of tensors, in addition to weights and inputs; "
        "saved: kept for the backward pass"
    )
    rows = []
    for label, results in report["times"].items():
        for name, result in results.items():
            times = [1e3 * statistics.median(result[key]) for key in timing.TIMES]
            sizes = [result[key] / 1e6 for key in timing.SIZES]
            rows.append([f"{label}, {name}", *times, *sizes])
    columns = ["forward, ms", "training step, ms", "forward peak, MB", "training peak, MB"]
    print_table(["", *columns, "saved, MB"], rows)
    rows = []
    for label, ratios in report["ratios"].items():
        for name, ratio in ratios.items():
            times = ["{median:.2f} ({min:.2f}-{max:.2f})".format(**ratio[k]) for k in timing.TIMES]
            rows.append([f"{label}, {name}", *times, *(ratio[key] for key in timing.SIZES)])
    if rows:
        print(f"\nRatios of medians (smallest-largest of {report['repeats']} rounds)")
        print_table(["", *(c.split(",")[0] for c in columns), "saved"], rows)


def print_table(columns: list[str], rows: list) -> None:
    """Print rows under column titles, numbers with two decimals."""
    print(tabulate(rows, columns, floatfmt=".2f"))


def run_command(arguments: Sequence[str], prog: str) -> None:
    """Run one command line, with ``prog`` as the program name."""
    parser = argument_parser()
    parser.prog = prog
    with exit_on_user_error():
        main(parser.parse_args(arguments))


if __name__ == "__main__":
    run_command(sys.argv[1:], "python -m mvit_det.benchmark")
