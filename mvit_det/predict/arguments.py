"""The command line of prediction."""

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from mvit_det.errors import UserError
from mvit_det.predict.person_boxes import EVERY, THRESHOLD


def argument_parser() -> ArgumentParser:
    """Build the parser of ``python -m mvit_det.predict``."""
    parser = ArgumentParser(
        description="Detect objects in pictures and videos, or classify them, with the model of "
        "any config; one of clips tells the classes of whole videos, an action detector what each "
        "person does. Writes annotated pictures and videos, predictions.json (COCO's result "
        "format, or the best classes of each) and images.json (which image_id is which file and "
        "frame, and the categories); of an action detector also detections.csv, in AVA's format, "
        "with the scores of all actions.",
    )
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="a .py, a .yaml or a config's name"
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="or the name of published weights; model_best.pth or else model_final.pth of the "
        "config's run unless given",
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="made if it is not there")
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.5,
        metavar="S",
        help="detections, or actions of a person, of a lower score are neither drawn nor written "
        "to predictions.json; 0.5 unless given (of a classifier the five best classes are, "
        "whatever their score)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=1,
        metavar="N",
        help="images, or clips of a video, at once; 1 unless given",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ...; the config's unless given")
    parser.add_argument(
        "--window",
        type=float,
        metavar="SECONDS",
        help="classify videos window by window, for models of clips; whole videos unless given. "
        "Each window gets as many clips as the config tests a video with "
        "(dataloader.test.dataset.clips)",
    )
    parser.add_argument(
        "--class-names",
        metavar="NAMES",
        help="a,b,c, or a file with one per line, or a COCO .json; where the config does not tell. "
        "Of an action detector a label map: AVA's .pbtxt, or lines such as 12: stand",
    )
    add_person_boxes(parser)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="input",
        help="pictures, videos, folders (with those below) and quoted glob patterns; for models of "
        "clips, several pictures of a folder are the frames of one video; then key=value changes "
        "to the config",
    )
    return parser


def add_person_boxes(parser: ArgumentParser) -> None:
    """Add the options that define where people are, for action detectors."""
    group = parser.add_argument_group(
        "people, for action detectors",
        "Key frames, the people in them, and the clips around them: those of a csv file, or people "
        "found by a detector at regular times. With both, the csv file tells the key frames and "
        "the detector the people. What a detector finds is written to proposals.csv as well.",
    )
    group.add_argument(
        "--boxes",
        metavar="FILE.csv",
        help="in AVA's format, annotations, proposals or detections: rows "
        "video,second,x1,y1,x2,y2,..., the video being the file's name without its ending, "
        "boxes shares of the frame",
    )
    group.add_argument(
        "--start",
        type=float,
        metavar="SECOND",
        help="the second of the csv at which the videos begin: 900 for AVA's cut files, 0 unless "
        "given",
    )
    group.add_argument(
        "--detector-config", metavar="FILE", help="of a detector, which finds the people"
    )
    group.add_argument("--detector-weights", metavar="FILE", help="as --weights, of the detector")
    group.add_argument(
        "--detector-class",
        metavar="NAME",
        help="of the detector's classes; person unless given, or all if it has no such class",
    )
    group.add_argument(
        "--box-threshold",
        "--detector-threshold",
        type=float,
        metavar="S",
        help="boxes that are less sure are left out, found ones and those of proposals; "
        f"{THRESHOLD} unless given",
    )
    group.add_argument(
        "--proposals",
        action="store_true",
        help="--config-file is of a detector: only find the people at key frames, and write "
        "proposals.csv, for train_net.py --val-proposals",
    )
    group.add_argument(
        "--every",
        type=float,
        metavar="SECONDS",
        help=f"from one key frame to the next, the first at 0; {EVERY:g} unless given",
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


def class_names(text: str | None) -> list[str] | str | None:
    """Convert the value of --class-names for `Predictor`: a list of names, or a file name."""
    if text is None or Path(text).is_file() or text.endswith((".json", ".txt", ".pbtxt")):
        return text
    return [name.strip() for name in text.split(",")]
