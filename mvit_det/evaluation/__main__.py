"""Evaluate a saved result file, without a model: see ``python -m mvit_det.evaluation --help``."""

import json
import logging
import math
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import mvit_det  # noqa: F401  before detectron2, which it makes importable
from mvit_det.errors import UserError
from mvit_det.evaluation import classification_report, coco_report
from mvit_det.evaluation.coco_files import CocoTruth, read_results
from mvit_det.evaluation.view_files import read_scores
from mvit_det.evaluation.view_report import log_by_views
from mvit_det.evaluation.writing import write_whole


def argument_parser() -> ArgumentParser:
    """Paths alone: which ones are given tells detections from classes."""
    parser = ArgumentParser(
        prog="python -m mvit_det.evaluation",
        description="Metrics of saved predictions: tables, and with --output the numbers as JSON "
        "and pictures. Of detections (--ground-truth and --results) COCO's metrics, with "
        "precision-recall curves and a confusion matrix; boxes are measured always, masks where "
        "the results have them. Of classes (--predictions) top-1 and top-5 accuracy, accuracy by "
        "class, and a confusion matrix; of single views (view_scores.npz) also accuracy by their "
        "number.",
    )
    parser.add_argument("--ground-truth", metavar="FILE", help="COCO annotations")
    parser.add_argument("--results", metavar="FILE", help="such as coco_instances_results.json")
    parser.add_argument(
        "--predictions",
        metavar="FILE",
        help="classification_predictions.npz, video_scores.npz or view_scores.npz",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="gets coco_metrics.json or classification_metrics.json, and pictures/; made if need be",
    )
    return parser


def main(args: Namespace) -> dict[str, dict[str, float]]:
    """Read, measure, print and write; returns the numbers by task, in percent."""
    of_detections = bool(args.ground_truth and args.results)
    if of_detections == bool(args.predictions) or bool(args.ground_truth) != bool(args.results):
        raise UserError(
            "Give either --ground-truth FILE and --results FILE (detections), or --predictions FILE "
            "(classes)."
        )
    folder = Path(args.output) if args.output else None
    if folder and folder.exists() and not folder.is_dir():
        raise UserError(f"--output {args.output} is a file: give a folder.")
    results = _detections(args, folder) if of_detections else _classes(args, folder)
    if folder:
        # named apart from the metrics.json of a training, which may be in the same folder
        path = folder / ("coco_metrics.json" if of_detections else "classification_metrics.json")
        # JSON has no NaN
        numbers = {
            f"{task}/{name}": None if math.isnan(value) else value
            for task, metrics in results.items()
            for name, value in metrics.items()
        }
        write_whole(path, json.dumps(numbers, indent=2) + "\n")
        logging.getLogger("mvit_det").info("Numbers: %s", path)
    return results


def _detections(args: Namespace, folder: Path | None) -> dict[str, dict[str, float]]:
    truth = CocoTruth(args.ground_truth)
    if not truth.annotated:
        raise UserError(
            f"{args.ground_truth} has no 'annotations' to measure against: give a file with them."
        )
    detections = read_results(args.results, truth)
    return coco_report.report(truth, detections, truth.names, folder)


def _classes(args: Namespace, folder: Path | None) -> dict[str, dict[str, float]]:
    predictions, views = read_scores(args.predictions)
    numbers = classification_report.report(predictions, folder)
    if views is not None:
        blocks = (views[start : start + 64] for start in range(0, len(views), 64))
        log_by_views(views.shape, predictions.label, blocks)
    return numbers


if __name__ == "__main__":
    # The tables are the output of this program: plain lines.
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        main(argument_parser().parse_args())
    except UserError as error:
        sys.exit(f"error: {error}")
