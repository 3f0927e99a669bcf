"""Evaluate a saved result file, without a model: see ``python -m mvit_det.evaluation --help``."""

import json
import logging
import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import mvit_det  # noqa: F401  before detectron2, which it makes importable
from mvit_det.ava_files import read_label_map
from mvit_det.coco_files import read_coco_json
from mvit_det.coco_suspicions import suspicious_values
from mvit_det.errors import UserError, exit_on_user_error, shorten_list
from mvit_det.evaluation.actions.files import read_detections, read_truth
from mvit_det.evaluation.actions.metrics import MODES
from mvit_det.evaluation.actions.report import report_actions
from mvit_det.evaluation.classification.report import report_classes
from mvit_det.evaluation.detection.files import CocoTruth
from mvit_det.evaluation.detection.identities import read_results
from mvit_det.evaluation.detection.metrics import MAX_DETECTIONS
from mvit_det.evaluation.detection.report import report_detections
from mvit_det.evaluation.video.files import read_scores
from mvit_det.evaluation.video.report import log_by_views
from mvit_det.evaluation.writing import write_atomic


def argument_parser() -> ArgumentParser:
    """Build the parser; the paths on the command line select what is evaluated."""
    parser = ArgumentParser(
        description="Evaluate saved predictions: print tables of metrics, and with --output write "
        "them as JSON, and pictures. --ground-truth and --results: COCO's metrics of boxes, and of "
        "masks if the results have them, precision-recall curves and a confusion matrix. --actions "
        "and --results, optionally --label-map, --excluded, --seconds and --mode: frame mAP of "
        "actions, equal to AVA's official scorer, AP by action and curves. --predictions: top-1 "
        "and top-5 accuracy, accuracy by class and a confusion matrix; for view_scores.npz also "
        "accuracy by number of views.",
    )
    parser.add_argument("--ground-truth", metavar="FILE", help="annotations in COCO format")
    parser.add_argument(
        "--actions", metavar="CSV", nargs="+", help="ground truth of actions in AVA's format"
    )
    parser.add_argument(
        "--results", metavar="FILE", help="coco_instances_results.json or action_detections.csv"
    )
    parser.add_argument(
        "--label-map", metavar="FILE", help="names of the evaluated actions; default: all actions"
    )
    parser.add_argument("--excluded", metavar="CSV", help="key frames (video,second) to leave out")
    seconds = "first and last second of the key frames to evaluate"
    parser.add_argument("--seconds", metavar=("FIRST", "LAST"), nargs=2, type=float, help=seconds)
    parser.add_argument(
        "--mode",
        choices=MODES,
        help="official (default), or pyslowfast, which also counts detections at key frames "
        "without ground truth, and more than 50 per key frame",
    )
    limit = "detections that count per image and class (100, as COCO, or more)"
    parser.add_argument("--max-detections", metavar="N", type=int, help=limit)
    predictions = "classification_predictions.npz, video_scores.npz or view_scores.npz"
    parser.add_argument("--predictions", metavar="FILE", help=predictions)
    output = "folder of {coco,action,classification}_metrics.json and pictures/, created if needed"
    parser.add_argument("--output", metavar="FOLDER", help=output)
    return parser


def main(args: Namespace) -> dict[str, dict[str, float]]:
    """Read, evaluate, log and write; return the metrics by task and name, in percent.

    Raises:
        UserError: the options do not fit together, or a file cannot be used.
    """
    kind = _kind(args)
    folder = Path(args.output) if args.output else None
    if folder and folder.exists() and not folder.is_dir():
        raise UserError(f"--output {args.output} is a file: give a folder.")
    evaluate, file_name = _KINDS[kind]
    results = evaluate(args, folder)
    if folder:
        # not metrics.json, which a training may have written to the same folder
        path = folder / file_name
        # JSON has no NaN
        numbers = {
            f"{task}/{name}": None if math.isnan(value) else value
            for task, metrics in results.items()
            for name, value in metrics.items()
        }
        write_atomic(path, json.dumps(numbers, indent=2) + "\n")
        logging.getLogger("mvit_det").info("Numbers: %s", path)
    return results


def _kind(args: Namespace) -> str:
    """Return the option that selects what is evaluated; check that all options fit it."""
    given = [kind for kind in _KINDS if getattr(args, kind)]
    if len(given) != 1 or bool(args.results) != (given != ["predictions"]):
        raise UserError(
            "Give either --ground-truth FILE and --results FILE (detections), or --actions CSV and "
            "--results CSV (actions), or --predictions FILE (classes)."
        )
    options: dict[str, tuple[str, ...]] = {
        "actions": ("label_map", "excluded", "seconds", "mode"),
        "ground_truth": ("max_detections",),
    }
    for kind, names in options.items():
        unrelated = [name for name in names if getattr(args, name) is not None]
        if unrelated and given != [kind]:
            flags = shorten_list("--" + name.replace("_", "-") for name in unrelated)
            owner = "--" + kind.replace("_", "-")
            raise UserError(f"{flags} belong to {owner}: remove them, or give {owner}.")
    return given[0]


def _detections(args: Namespace, folder: Path | None) -> dict[str, dict[str, float]]:
    truth = CocoTruth(args.ground_truth)
    if not truth.annotated:
        raise UserError(
            f"{args.ground_truth} has no 'annotations' to evaluate against: give a file with them."
        )
    for suspicion in suspicious_values(read_coco_json(args.ground_truth)):
        logging.getLogger("mvit_det").warning("%s: %s.", args.ground_truth, suspicion)
    limit = MAX_DETECTIONS if args.max_detections is None else args.max_detections
    if limit < MAX_DETECTIONS:
        raise UserError(f"--max-detections {limit} must be {MAX_DETECTIONS} or more.")
    detections = read_results(args.results, truth)
    return report_detections(truth, detections, truth.names, folder, limit)


def _actions(args: Namespace, folder: Path | None) -> dict[str, dict[str, float]]:
    files = [*args.actions, args.results]
    repeated = {path for path in files if files.count(path) > 1}
    if repeated:  # its boxes would count twice, or be compared with themselves
        raise UserError(f"The file {shorten_list(repeated)} is given twice: give it once.")
    truth = read_truth(args.actions, args.excluded, args.seconds)
    detections = read_detections(args.results, truth)
    if args.label_map:
        names = read_label_map(args.label_map)
    else:
        # as for a dataset without a label map: all outputs of the model, which the file contains
        ids = np.union1d(truth.table.action, detections.action).tolist()
        names = {k: f"action {k}" for k in ids}
    truth.check_names(names)
    return report_actions(truth, detections, names, folder, args.mode or MODES[0])


def _classes(args: Namespace, folder: Path | None) -> dict[str, dict[str, float]]:
    predictions, views = read_scores(args.predictions)
    numbers = report_classes(predictions, folder)
    if views is not None:
        log_by_views(views, predictions.label)
    return numbers


# option -> function that evaluates, and file of the metrics
_KINDS = {
    "ground_truth": (_detections, "coco_metrics.json"),
    "actions": (_actions, "action_metrics.json"),
    "predictions": (_classes, "classification_metrics.json"),
}


def run_command(arguments: Sequence[str], prog: str) -> None:
    """Run one command line, with ``prog`` as the program name in the usage message.

    Raises:
        SystemExit: the arguments are invalid, or the evaluation ended in a `UserError`.
    """
    parser = argument_parser()
    parser.prog = prog
    args = parser.parse_args(arguments)
    # the tables are the output of this command, so no timestamps
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    with exit_on_user_error():
        main(args)


if __name__ == "__main__":
    run_command(sys.argv[1:], "python -m mvit_det.evaluation")
