"""Person boxes of videos: from a csv file, or from a detector."""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import Instances

from mvit_det.ava_files import BoxTable, read_boxes
from mvit_det.data.actions.key_frames import valid_rows
from mvit_det.data.decoding.reader import VideoError
from mvit_det.data.file_kinds import is_video_name
from mvit_det.engine import load_config
from mvit_det.errors import UserError, check_positive, check_share, shorten_list
from mvit_det.predict.actions import KeyClip
from mvit_det.predict.predictor import Predictor
from mvit_det.tasks import task_of

PERSON = "person"
EVERY = 1.0  # seconds
THRESHOLD = 0.8  # as AVA's authors use for their detector
DETECTOR_OPTIONS = ("detector_weights", "detector_class")
OPTIONS = ("boxes", "start", "detector_config", *DETECTOR_OPTIONS, "box_threshold", "every")

Boxes = tuple[np.ndarray, np.ndarray]  # (N, 4) as fractions of the frame, and scores (N,)


class BoxFile:
    """Person boxes in a csv file of AVA's kinds: annotations, proposals or detections.

    Rows of one box with different actions count as one box.

    Args:
        path: of the csv file.
        threshold: proposals of a lower score are dropped. (Scores of detections belong to actions.)
        start: the file's second at which videos begin.
    """

    def __init__(self, path: str | os.PathLike, threshold: float, start: float) -> None:
        self.path = Path(path)
        self.start = start
        kind, table = read_any_boxes(self.path)
        self._named = table
        # the actions of the rows do not matter here
        table = valid_rows(self.path, table, num_classes=table.action.max(initial=0))
        self._sure, self._threshold = kind == "proposals", threshold
        self._boxes = table.rows(table.score >= threshold) if self._sure else table

    def seconds(self, name: str, video: Any) -> list[float]:
        """Return the key frames of a video in seconds from its start; some may have no box.

        Raises:
            UserError: the file has no rows for this video.
        """
        table = self._named
        found = {second for known, second in table.empty if _is_called(known, name)}
        found |= set(table.second[_rows_called(table, name)].tolist())
        if not found:
            names = dict.fromkeys([*table.videos, *(known for known, _ in table.empty)])
            raise UserError(
                f"{self.path} has no rows of a video {name!r}, only of {shorten_list(names)}: the first "
                "column must be the video's file name without its ending"
            )
        return sorted(round(second - self.start, 6) for second in found)

    def at(self, name: str, clip: KeyClip) -> Boxes:
        """Return the boxes of a key frame without duplicates."""
        table = self._boxes
        rows = np.abs(table.second - self.start - clip.second) < 1e-6
        rows &= _rows_called(table, name)
        box, score = table.box[rows].clip(0, 1), table.score[rows]
        _, firsts = np.unique(box, axis=0, return_index=True)
        firsts.sort()
        return box[firsts], score[firsts] if self._sure else np.full(len(firsts), np.nan)

    def check_scores(self) -> None:
        """Raise a `UserError` if all proposals are below the threshold."""
        if len(self._named) and not len(self._boxes):
            raise UserError(
                f"{self.path} has no box as sure as --box-threshold {self._threshold:g} (the "
                f"highest score is {self._named.score.max():g}): lower it."
            )


def _is_called(known: str, name: str) -> bool:
    """Return whether a video name in the file means ``name``; some files include the suffix."""
    return name in (known, os.path.splitext(known)[0] if is_video_name(known) else known)


def _rows_called(table: BoxTable, name: str) -> np.ndarray:
    numbers = [number for number, known in enumerate(table.videos) if _is_called(known, name)]
    return np.isin(table.video, numbers)


class PersonFinder:
    """Detects people with a `Predictor`, at regular times or at the key frames of a file.

    Args:
        detector: with the threshold for person boxes already set.
        name: the class of people; by default "person" if the detector has it, else all classes.
        every: seconds between key frames, the first at 0.
        times: a file whose key frames are used instead.
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
                f"--detector-class {name} is no class of the detector, which has {shorten_list(names, 20)}."
            )
        check_positive("PersonFinder", every=every)
        self.detector = detector
        self.wanted = [k for k, known in enumerate(names) if name in (None, known)]
        self.every = every
        self.times = times
        self.start = times.start if times else 0.0

    def seconds(self, name: str, video: Any) -> list[float]:
        """Return the key frames of a video in seconds from its start.

        Raises:
            VideoError: ``every`` is less than the duration of a frame.
        """
        if self.times is not None:
            return self.times.seconds(name, video)
        if self.every * len(video.times) < video.end:
            raise VideoError(
                f"--every {self.every:g} s is below one frame, {video.end / len(video.times):.3g} s"
            )
        count = int(np.ceil(video.end / self.every - 1e-6))
        return [round(number * self.every, 6) for number in range(max(count, 1))]

    def found(self, picture: np.ndarray) -> Instances:
        """Detect people in an image (H, W, 3) BGR, best first."""
        found = self.detector(picture)
        return found[np.isin(found.pred_classes.numpy(), self.wanted)]

    def at(self, name: str, clip: KeyClip) -> Boxes:
        """Detect people at a key frame, best first."""
        return as_shares(self.found(np.ascontiguousarray(clip.picture[..., ::-1])))


def as_shares(found: Instances) -> Boxes:
    """Convert to boxes (N, 4) as fractions of the frame, clipped to it, and scores (N,)."""
    height, width = found.image_size
    boxes = found.pred_boxes.tensor.double().numpy() / [width, height, width, height]
    boxes = np.clip(boxes, 0, 1)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return boxes[kept], found.scores.double().numpy()[kept]


def person_boxes(args: Namespace, predictor: Predictor) -> BoxFile | PersonFinder | None:
    """Return the source of person boxes that the options ask for; None if the model needs none.

    Raises:
        UserError: options are missing, contradict each other, or do not fit the model.
    """
    given = [option for option in OPTIONS if getattr(args, option) is not None]
    of_actions = predictor.task.inputs == "key frames"
    if args.proposals and not predictor.task.gives_boxes:
        raise UserError("--proposals is for detectors, and this config's model is none: drop it.")
    if not (of_actions or args.proposals):
        if given:
            raise UserError(
                f"{_flag(given[0])} is for action detectors, and this model is none: drop it."
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
                "An action detector needs boxes of people: give --boxes FILE.csv (in AVA's "
                "format), or --detector-config FILE and let a detector find them."
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
    """Return the score below which person boxes are dropped, from 0 to 1."""
    threshold = THRESHOLD if args.box_threshold is None else args.box_threshold
    check_share("mvit_det.predict", **{"--box-threshold": threshold})
    return threshold


def _detector(args: Namespace) -> Predictor:
    # before its weights are read, which may be given for the wrong model too
    if not task_of(load_config(args.detector_config)).gives_boxes:
        raise UserError(
            f"--detector-config {args.detector_config} is none of a detector of boxes: give one, "
            "such as configs/mask_rcnn_mvitv2_t_3x.py."
        )
    return Predictor(
        args.detector_config,
        args.detector_weights,
        device=args.device,
        score_threshold=box_threshold(args),
    )


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def read_any_boxes(path: str | os.PathLike) -> tuple[str, BoxTable]:
    """Read a csv file as the first kind of `read_boxes` that fits; return that kind and the table.

    Raises:
        UserError: no kind fits; lists why.
    """
    refusals: dict[str, str] = {}  # message -> kind
    for kind in ("actions", "proposals", "detections"):
        try:
            return kind, read_boxes(path, kind)
        except UserError as error:
            refusals.setdefault(str(error), kind)
    if len(refusals) == 1:
        raise UserError(*refusals)
    told = "; ".join(f"as {kind}: {sentence}" for sentence, kind in refusals.items())
    raise UserError(f"{path} cannot be read as any file of AVA. {told}")
