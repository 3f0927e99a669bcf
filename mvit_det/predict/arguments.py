"""The command line of prediction."""

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from mvit_det.engine import add_config_flags
from mvit_det.errors import UserError
from mvit_det.precision import add_precision_flag
from mvit_det.predict.person_boxes import EVERY, THRESHOLD

_DESCRIPTION = (
    "Detect objects in pictures and videos, or classify them, with the model of any config. A "
    "video classifier predicts the classes of whole videos, an action detector the actions of each "
    "person. Writes annotated pictures and videos, predictions.json (COCO's result format, or the "
    "best classes of each input), and images.json (the file and frame of each image_id, and the "
    "categories); for an action detector also detections.csv in AVA's format, with the scores of "
    "all actions."
)


def add_model_flags(parser: ArgumentParser) -> None:
    """Add the flags of a `Predictor` and of the output folder."""
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="a .py, a .yaml or a config's name"
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="a checkpoint, or the name of published weights; default: model_best.pth, or else "
        "model_final.pth, of the config's run",
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="created if necessary")


def argument_parser() -> ArgumentParser:
    """Build the parser of ``python -m mvit_det.predict``."""
    parser = ArgumentParser(description=_DESCRIPTION)
    add_model_flags(parser)
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.5,
        metavar="S",
        help="detections, or actions of a person, with a lower score are neither drawn nor "
        "written to predictions.json; default: 0.5. The five best classes of a classifier always "
        "are",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=1,
        metavar="N",
        help="images, or clips of a video, per forward pass; default: 1",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps ...; default: that of the config")
    add_precision_flag(parser)
    parser.add_argument(
        "--window",
        type=float,
        metavar="SECONDS",
        help="for video classifiers: classify windows of this length; default: whole videos. Each "
        "window gets as many clips as the config tests a video with "
        "(dataloader.test.dataset.clips)",
    )
    add_names(parser)
    add_config_flags(parser)
    add_person_boxes(parser)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="input",
        help="pictures, videos, folders (including subfolders) and quoted glob patterns; for video "
        "models, several pictures in a folder are the frames of one video. Then key=value changes "
        "to the config",
    )
    return parser


def add_names(parser: ArgumentParser) -> None:
    """Add the options for names and ids of classes and pictures."""
    parser.add_argument(
        "--class-names",
        metavar="NAMES",
        help="a,b,c, or a file with one name per line, or a COCO .json; default: those of the "
        "config. For an action detector a label map: AVA's .pbtxt, or lines such as 12: stand",
    )
    parser.add_argument(
        "--ids-from",
        metavar="COCO.json",
        help="number pictures and classes as this COCO file does, by file name and by class name, "
        "so that predictions.json can be evaluated against it; default: pictures 1, 2, ... in the "
        "order of the inputs",
    )


def add_person_boxes(parser: ArgumentParser) -> None:
    """Add the options for person boxes, for action detectors."""
    group = parser.add_argument_group(
        "people, for action detectors",
        "Key frames and person boxes are those of a csv file, or boxes that a detector finds at "
        "regular times. With both, the csv file defines the key frames, and the detector finds the "
        "people. Boxes of a detector are also written to proposals.csv.",
    )
    group.add_argument(
        "--boxes",
        metavar="FILE.csv",
        help="annotations, proposals or detections in AVA's format: rows "
        "video,second,x1,y1,x2,y2,... with the video's file name without suffix, and boxes as "
        "fractions of the frame",
    )
    group.add_argument(
        "--start",
        type=float,
        metavar="SECOND",
        help="the second of the csv at which the videos begin, such as 900 for AVA's trimmed "
        "files; default: 0",
    )
    group.add_argument(
        "--detector-config", metavar="FILE", help="config of a detector that finds the people"
    )
    group.add_argument("--detector-weights", metavar="FILE", help="as --weights, for the detector")
    group.add_argument(
        "--detector-class",
        metavar="NAME",
        help="the detector's class of people; default: person, or all classes if it has no person",
    )
    group.add_argument(
        "--box-threshold",
        "--detector-threshold",
        type=float,
        metavar="S",
        help="person boxes with a lower score, of the detector or of proposals, are dropped; "
        f"default: {THRESHOLD}",
    )
    group.add_argument(
        "--proposals",
        action="store_true",
        help="--config-file is a detector: only find the people at key frames, and write "
        "proposals.csv for train_net.py --val-proposals",
    )
    group.add_argument(
        "--every",
        type=float,
        metavar="SECONDS",
        help=f"time between key frames, the first at 0; default: {EVERY:g}",
    )


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split words into inputs and ``key=value`` overrides; an existing file is an input.

    Raises:
        UserError: there is no input.
    """
    overrides = [w for w in words if re.match(r"[+~]*[A-Za-z_][\w.]*=", w) and not Path(w).exists()]
    inputs = [word for word in words if word not in overrides]
    if not inputs:
        raise UserError("No input was given: name pictures, videos, folders or glob patterns.")
    return inputs, overrides


def parse_class_names(text: str | None) -> list[str] | str | None:
    """Convert the value of --class-names for `Predictor`: a list of names, or a file name."""
    if text is None or Path(text).is_file() or text.endswith((".json", ".txt", ".pbtxt")):
        return text
    return [name.strip() for name in text.split(",")]
