"""Where the people of a video are: from a csv file, or found by a detector."""

import csv
import os
from argparse import Namespace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import Instances

from mvit_det.ava_files import BoxTable, read_boxes
from mvit_det.data.actions.key_frames import usable
from mvit_det.data.decoding.reader import VideoError
from mvit_det.data.file_kinds import is_video_name
from mvit_det.engine import load_config
from mvit_det.errors import UserError, some
from mvit_det.predict.actions import KeyClip
from mvit_det.predict.predictor import Predictor
from mvit_det.tasks import task_of

PERSON = "person"
EVERY = 1.0  # seconds
THRESHOLD = 0.8  # AVA's, for its own detector
SNIFFED = 1000  # rows that tell the kind of a file
DETECTOR_OPTIONS = ("detector_weights", "detector_class")
OPTIONS = ("boxes", "start", "detector_config", *DETECTOR_OPTIONS, "box_threshold", "every")

Boxes = tuple[np.ndarray, np.ndarray]  # (N, 4) as shares of the frame, and the scores (N,)


class BoxFile:
    """Person boxes in a csv file of AVA's kinds: annotations, proposals or detections.

    Several rows of one box, with an action each, are one box.

    Args:
        threshold: proposals of a lower score are left out. (Scores of detections are those of
            actions.)
        start: the file's second at which videos begin.
    """

    def __init__(self, path: str | os.PathLike, threshold: float, start: float) -> None:
        self.path = Path(path)
        self.start = start
        kind = kind_of(self.path)
        table = self._named = read_boxes(self.path, kind)
        # which actions the rows have is of no interest here
        table = usable(self.path, table, num_classes=table.action.max(initial=0))
        self._sure, self._threshold = kind == "proposals", threshold
        self._boxes = table.rows(table.score >= threshold) if self._sure else table

    def seconds(self, name: str, video: Any) -> list[float]:
        """The key frames of a video of this name, from its beginning on; some may have no box."""
        table = self._named
        found = {second for known, second in table.empty if _is_called(known, name)}
        found |= set(table.second[_rows_called(table, name)].tolist())
        if not found:
            names = dict.fromkeys([*table.videos, *(known for known, _ in table.empty)])
            raise UserError(
                f"{self.path} has no rows of a video {name!r}, only of {some(names)}: the first "
                "column must be the video's file name without its ending"
            )
        return sorted(round(second - self.start, 6) for second in found)

    def at(self, name: str, clip: KeyClip) -> Boxes:
        """The boxes of a key frame, each once."""
        table = self._boxes
        rows = np.abs(table.second - self.start - clip.second) < 1e-6
        rows &= _rows_called(table, name)
        box, score = table.box[rows].clip(0, 1), table.score[rows]
        _, firsts = np.unique(box, axis=0, return_index=True)
        firsts.sort()
        return box[firsts], score[firsts] if self._sure else np.full(len(firsts), np.nan)

    def check_scores(self) -> None:
        """Refuse proposals none of which is sure enough."""
        if len(self._named) and not len(self._boxes):
            raise UserError(
                f"{self.path} has no box as sure as --box-threshold {self._threshold:g} (the highest "
                f"score is {self._named.score.max():g}): lower it."
            )


def _is_called(known: str, name: str) -> bool:
    """Whether a file of boxes means a video of this name; some write its ending as well."""
    return name in (known, os.path.splitext(known)[0] if is_video_name(known) else known)


def _rows_called(table: BoxTable, name: str) -> np.ndarray:
    numbers = [number for number, known in enumerate(table.videos) if _is_called(known, name)]
    return np.isin(table.video, numbers)


class PersonFinder:
    """Person boxes by one of our own detectors, at regular times or at those of a file.

    Args:
        detector: finds no boxes that are less sure than is wanted.
        name: the class that is a person; by default "person" if the detector has it, else all.
        every: seconds from one key frame to the next, the first at 0.
        times: a file whose key frames are taken instead.
    """

    def __init__(
        self,
        detector: Predictor,
        name: str | None = None,
        every: float = EVERY,
        times: BoxFile | None = None,
    ) -> None:
        names = detector.class_names
        if name is None and PERSON in names:
            name = PERSON
        if name is not None and name not in names:
            raise UserError(
                f"--detector-class {name} is no class of the detector, which has {some(names, 20)}."
            )
        if not 0 < every < np.inf:
            raise UserError(f"--every {every:g}, in seconds, must be above 0.")
        self.detector = detector
        self.wanted = [k for k, known in enumerate(names) if name in (None, known)]
        self.every = every
        self.times = times
        self.start = times.start if times else 0.0

    def seconds(self, name: str, video: Any) -> list[float]:
        """The key frames of a video, from its beginning on."""
        if self.times is not None:
            return self.times.seconds(name, video)
        if self.every * len(video.times) < video.end:
            raise VideoError(
                f"--every {self.every:g} s is less than a frame, {video.end / len(video.times):.3g} s"
            )
        count = int(np.ceil(video.end / self.every - 1e-6))
        return [round(number * self.every, 6) for number in range(max(count, 1))]

    def found(self, picture: np.ndarray) -> Instances:
        """The people in a picture (H, W, 3) BGR, the best first."""
        found = self.detector(picture)
        return found[np.isin(found.pred_classes.numpy(), self.wanted)]

    def at(self, name: str, clip: KeyClip) -> Boxes:
        """The people found at a key frame, the best first."""
        return as_shares(self.found(np.ascontiguousarray(clip.picture[..., ::-1])))


def as_shares(found: Instances) -> Boxes:
    """Boxes as shares of the frame, inside of it, and their scores."""
    height, width = found.image_size
    boxes = found.pred_boxes.tensor.double().numpy() / [width, height, width, height]
    boxes = np.clip(boxes, 0, 1)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return boxes[kept], found.scores.double().numpy()[kept]


def person_boxes(args: Namespace, predictor: Predictor) -> BoxFile | PersonFinder | None:
    """What the command line says of boxes; None where they are not for this model."""
    given = [option for option in OPTIONS if getattr(args, option) is not None]
    of_actions = predictor.task.inputs == "key frames"
    if args.proposals and not predictor.task.gives_boxes:
        raise UserError("--proposals is for detectors, and this config's model is none: drop it.")
    if not (of_actions or args.proposals):
        if given:
            raise UserError(
                f"{_flag(given[0])} is for action detectors, and this config's model is none: drop it."
            )
        return None
    if args.proposals and args.detector_config is not None:
        raise UserError(
            "With --proposals the detector is that of --config-file: drop --detector-config."
        )
    if args.detector_config is None and of_actions:
        strays = [option for option in DETECTOR_OPTIONS if option in given]
        if strays:
            raise UserError(f"{_flag(strays[0])} needs --detector-config FILE.")
        if args.boxes is None:
            raise UserError(
                "An action detector needs boxes of people: give --boxes FILE.csv (in AVA's format), or "
                "--detector-config FILE and let a detector find them."
            )
    if args.boxes is not None and args.every is not None:
        raise UserError("--boxes tells the seconds to look at: drop --every.")
    if args.boxes is None and args.start is not None:
        raise UserError("--start tells at which second of --boxes the videos begin: give both.")
    file = None
    if args.boxes is not None:
        file = BoxFile(args.boxes, box_threshold(args), args.start or 0.0)
    if of_actions and args.detector_config is None:
        file.check_scores()
        return file
    detector = _detector(args) if of_actions else predictor
    every = EVERY if args.every is None else args.every
    return PersonFinder(detector, args.detector_class, every, file)


def box_threshold(args: Namespace) -> float:
    """Below this score boxes of people are left out."""
    threshold = THRESHOLD if args.box_threshold is None else args.box_threshold
    if not 0 <= threshold <= 1:
        raise UserError(f"--box-threshold {threshold:g} must be from 0 to 1.")
    return threshold


def _detector(args: Namespace) -> Predictor:
    # before its weights are read, which may be those of the other model as well
    if not task_of(load_config(args.detector_config)).gives_boxes:
        raise UserError(
            f"--detector-config {args.detector_config} is none of a detector of boxes: give one, such "
            "as configs/mask_rcnn_mvitv2_t_3x.py."
        )
    return Predictor(
        args.detector_config,
        args.detector_weights,
        device=args.device,
        score_threshold=box_threshold(args),
    )


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def kind_of(path: Path) -> str:
    """The kind of file for `read_boxes`, by its first rows: what the last two columns hold."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = [row for row in islice(csv.reader(file), SNIFFED) if len(row) == 8]
    except (OSError, csv.Error):
        return "actions"  # whose reader says what is wrong
    if not rows or any(row[6].strip() in ("", "-1") for row in rows):
        return "proposals" if rows else "actions"
    if not any("." in row[7] for row in rows):
        return "actions"
    pairs = list(zip(rows, rows[1:]))
    again = [one[7] != other[7] for one, other in pairs if one[:6] == other[:6]]
    return "detections" if any(again) else "proposals"
