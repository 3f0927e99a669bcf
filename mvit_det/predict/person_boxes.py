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
from mvit_det.predict.key_clips import KeyClip
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
        path: path of the csv file.
        threshold: from 0 to 1; proposals of a lower score are dropped. (Scores of detections belong
            to actions.)
        start: the file's second at which videos begin.

    Raises:
        UserError: the file cannot be read, or has none of the three formats.
    """

    def __init__(self, path: str | os.PathLike, threshold: float, start: float) -> None:
        self.path = Path(path)
        self.start = start
        kind, table = read_any_boxes(self.path)
        self._all_rows = table
        # the actions of the rows do not matter here
        table = valid_rows(self.path, table, num_classes=table.action.max(initial=0))
        self._has_scores, self._threshold = kind == "proposals", threshold
        self._boxes = table.rows(table.score >= threshold) if self._has_scores else table

    def seconds(self, name: str, video: Any) -> list[float]:
        """Return the key frames of a video in seconds from its start; some may have no box.

        Raises:
            UserError: the file has no rows for this video.
        """
        table = self._all_rows
        seconds = {second for listed, second in table.empty if _is_same_video(listed, name)}
        seconds |= set(table.second[_rows_of_video(table, name)].tolist())
        if not seconds:
            names = dict.fromkeys([*table.videos, *(listed for listed, _ in table.empty)])
            raise UserError(
                f"{self.path} has no rows of a video {name!r}, only of {shorten_list(names)}: the "
                "first column must be the video's file name without its suffix"
            )
        return sorted(round(second - self.start, 6) for second in seconds)

    def boxes_at(self, name: str, clip: KeyClip) -> Boxes:
        """Return the boxes of a key frame without duplicates; scores are NaN if unknown."""
        table = self._boxes
        rows = np.abs(table.second - self.start - clip.second) < 1e-6
        rows &= _rows_of_video(table, name)
        box, score = table.box[rows].clip(0, 1), table.score[rows]
        _, firsts = np.unique(box, axis=0, return_index=True)
        firsts.sort()
        return box[firsts], score[firsts] if self._has_scores else np.full(len(firsts), np.nan)

    def check_scores(self) -> None:
        """Raise a `UserError` if all proposals are below the threshold."""
        if len(self._all_rows) and not len(self._boxes):
            raise UserError(
                f"{self.path} has no box with a score of at least --box-threshold "
                f"{self._threshold:g} (the highest is {self._all_rows.score.max():g}): lower it."
            )


def _is_same_video(listed: str, name: str) -> bool:
    """Return whether a video name in the file means ``name``; some files include the suffix."""
    return name in (listed, os.path.splitext(listed)[0] if is_video_name(listed) else listed)


def _rows_of_video(table: BoxTable, name: str) -> np.ndarray:
    """Return a mask (len(table),) of the rows of a video."""
    numbers = [n for n, listed in enumerate(table.videos) if _is_same_video(listed, name)]
    return np.isin(table.video, numbers)


class PersonFinder:
    """Detects people with a `Predictor`, at regular times or at the key frames of a file.

    Args:
        detector: a detector whose score threshold is that for person boxes.
        name: the class of people; by default "person" if the detector has it, else all classes.
        every: seconds between key frames, the first at 0.
        times: a file whose key frames are used instead.

    Raises:
        UserError: the detector does not have the class, or ``every`` is not above 0.
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
                f"--detector-class {name} is not a class of the detector: choose from "
                f"{shorten_list(names, 20)}."
            )
        check_positive("PersonFinder", every=every)
        self.detector = detector
        self.classes = [k for k, class_name in enumerate(names) if name in (None, class_name)]
        self.every = every
        self.times = times
        self.start = times.start if times else 0.0

    def seconds(self, name: str, video: Any) -> list[float]:
        """Return the key frames of a video in seconds from its start.

        Raises:
            VideoError: ``every`` is less than the duration of a frame.
            UserError: `times` has no rows for this video.
        """
        if self.times is not None:
            return self.times.seconds(name, video)
        if self.every * len(video.times) < video.end:
            raise VideoError(
                f"--every {self.every:g} s is below one frame, {video.end / len(video.times):.3g} s"
            )
        count = int(np.ceil(video.end / self.every - 1e-6))
        return [round(number * self.every, 6) for number in range(max(count, 1))]

    def detect(self, picture: np.ndarray) -> Instances:
        """Detect people in an image (H, W, 3) uint8 BGR, best first."""
        instances = self.detector(picture)
        return instances[np.isin(instances.pred_classes.numpy(), self.classes)]

    def boxes_at(self, name: str, clip: KeyClip) -> Boxes:
        """Detect people at a key frame, best first."""
        return boxes_as_fractions(self.detect(np.ascontiguousarray(clip.picture[..., ::-1])))


def boxes_as_fractions(instances: Instances) -> Boxes:
    """Convert to boxes (N, 4) as fractions of the frame, clipped to it, and scores (N,).

    Boxes without area, such as those outside the frame, are dropped.
    """
    height, width = instances.image_size
    boxes = instances.pred_boxes.tensor.double().numpy() / [width, height, width, height]
    boxes = np.clip(boxes, 0, 1)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return boxes[kept], instances.scores.double().numpy()[kept]


def person_boxes(args: Namespace, predictor: Predictor) -> BoxFile | PersonFinder | None:
    """Return the source of person boxes that the options ask for; None if the model needs none.

    Raises:
        UserError: options are missing, contradict each other, or do not fit the model.
    """
    used = [option for option in OPTIONS if getattr(args, option) is not None]
    of_actions = predictor.task.inputs == "key frames"
    if args.proposals and not predictor.task.gives_boxes:
        raise UserError("--proposals needs a detector, which this config's model is not: drop it.")
    if not (of_actions or args.proposals):
        if used:
            raise UserError(
                f"{_flag(used[0])} needs an action detector, which this config's model is not: "
                "drop it."
            )
        return None
    if args.proposals and args.detector_config is not None:
        raise UserError("With --proposals, --config-file is the detector: drop --detector-config.")
    if args.detector_config is None and of_actions:
        unused = [option for option in DETECTOR_OPTIONS if option in used]
        if unused:
            raise UserError(f"{_flag(unused[0])} needs --detector-config FILE.")
        if args.boxes is None:
            raise UserError(
                "An action detector needs boxes of people: give --boxes FILE.csv (in AVA's "
                "format), or --detector-config FILE and let a detector find them."
            )
    if args.boxes is not None and args.every is not None:
        raise UserError("--boxes defines the key frames: drop --every.")
    if args.boxes is None and args.start is not None:
        raise UserError("--start is the second of --boxes at which the videos begin: give both.")
    file = None
    if args.boxes is not None:
        file = BoxFile(args.boxes, box_threshold(args), args.start or 0.0)
    if file is not None and of_actions and args.detector_config is None:
        file.check_scores()
        return file
    detector = _detector(args) if of_actions else predictor
    every = EVERY if args.every is None else args.every
    return PersonFinder(detector, args.detector_class, every, file)


def box_threshold(args: Namespace) -> float:
    """Return the score below which person boxes are dropped.

    Raises:
        UserError: it is not from 0 to 1.
    """
    threshold = THRESHOLD if args.box_threshold is None else args.box_threshold
    check_share("mvit_det.predict", **{"--box-threshold": threshold})
    return threshold


def _detector(args: Namespace) -> Predictor:
    # before the weights are read, which may be those of the wrong model too
    if not task_of(load_config(args.detector_config, args.allow_target)).gives_boxes:
        raise UserError(
            f"--detector-config {args.detector_config} is not the config of a detector: give one "
            "such as configs/mask_rcnn_mvitv2_t_3x.py."
        )
    return Predictor(
        args.detector_config,
        args.detector_weights,
        allow_targets=args.allow_target,
        device=args.device,
        precision=args.precision,
        score_threshold=box_threshold(args),
    )


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def read_any_boxes(path: str | os.PathLike) -> tuple[str, BoxTable]:
    """Read a csv file as the first kind of `read_boxes` that fits; return that kind and the table.

    Raises:
        UserError: no kind fits; the message gives the reason for each kind.
    """
    reasons: dict[str, str] = {}  # message -> kind
    for kind in ("actions", "proposals", "detections"):
        try:
            return kind, read_boxes(path, kind)
        except UserError as error:
            reasons.setdefault(str(error), kind)
    if len(reasons) == 1:
        raise UserError(*reasons)
    listed = "; ".join(f"as {kind}: {reason}" for reason, kind in reasons.items())
    raise UserError(f"{path} has none of AVA's formats. {listed}")
