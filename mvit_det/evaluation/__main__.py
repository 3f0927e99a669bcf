"""Evaluate a saved result file, without a model: see ``python -m mvit_det.evaluation --help``."""

import json
import logging
import math
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import mvit_det  # noqa: F401  before detectron2, which it makes importable
from mvit_det.errors import UserError
from mvit_det.evaluation.coco_files import CocoTruth, read_results
from mvit_det.evaluation.coco_report import report, write_whole


def argument_parser() -> ArgumentParser:
    """Three paths."""
    parser = ArgumentParser(
        prog="python -m mvit_det.evaluation",
        description="COCO metrics of saved detections: tables, and with --output the numbers as "
        "JSON, precision-recall curves and a confusion matrix. Boxes are measured always, masks "
        "where the results have them.",
    )
    parser.add_argument("--ground-truth", required=True, metavar="FILE", help="COCO annotations")
    parser.add_argument(
        "--results", required=True, metavar="FILE", help="such as coco_instances_results.json"
    )
    parser.add_argument(
        "--output", metavar="FOLDER", help="gets coco_metrics.json and pictures/; made if need be"
    )
    return parser


def main(args: Namespace) -> dict[str, dict[str, float]]:
    """Read, measure, print and write; returns the numbers by task, in percent."""
    if args.output and Path(args.output).exists() and not Path(args.output).is_dir():
        raise UserError(f"--output {args.output} is a file: give a folder.")
    truth = CocoTruth(args.ground_truth)
    if not truth.annotated:
        raise UserError(
            f"{args.ground_truth} has no 'annotations' to measure against: give a file with them."
        )
    detections = read_results(args.results, truth)
    results = report(truth, detections, truth.names, args.output)
    if args.output:
        # named apart from the metrics.json of a training, which may be in the same folder
        path = Path(args.output) / "coco_metrics.json"
        # JSON has no NaN
        numbers = {
            f"{task}/{name}": None if math.isnan(value) else value
            for task, metrics in results.items()
            for name, value in metrics.items()
        }
        write_whole(path, json.dumps(numbers, indent=2) + "\n")
        logging.getLogger("mvit_det").info("Numbers: %s", path)
    return results


if __name__ == "__main__":
    # The tables are the output of this program: plain lines.
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        main(argument_parser().parse_args())
    except UserError as error:
        sys.exit(f"error: {error}")
