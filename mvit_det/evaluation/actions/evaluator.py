"""Frame mAP of action detection, as an evaluator for Detectron2's test loop."""

import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor

from mvit_det.ava_files import BoxTable, detections_table, write_detections
from mvit_det.errors import UserError, check_choice, check_count, not_finite
from mvit_det.evaluation.actions.examples import KeyFrame, KeyFrameExamples, draw_key_frames
from mvit_det.evaluation.actions.files import read_truth
from mvit_det.evaluation.actions.metrics import MODES
from mvit_det.evaluation.actions.report import report_actions
from mvit_det.evaluation.example_selection import lowest_keys
from mvit_det.evaluation.writing import log_write_errors

logger = logging.getLogger(__name__)

DETECTIONS = "action_detections.csv"


class ActionMetrics(DatasetEvaluator):
    """Computes AP at IoU 0.5 of each action over all key frames, and their mean (frame mAP).

    Ground truth comes from the csv files of the dataset, not from the model's inputs: boxes that
    the person detector missed, key frames that were not tested, and those of clips that could not
    be read (`UnreadableImages` counts them) count as missed. The detections of all processes count;
    a key frame that several processes evaluate (samplers pad) counts once. Only the main process
    returns results. Detections are sorted by video, second and box before scoring, so that the
    results do not depend on batches, order or processes, to the last bit.

    Args:
        dataset_name: a registered dataset whose metadata have ``ground_truth`` (csv files),
            ``actions`` (names of the evaluated actions by id) and optionally ``excluded`` (a csv
            file of key frames) and ``seconds`` (the first and the last one to evaluate).
        output_dir: gets ``action_detections.csv`` in the official format, with a row for each box
            and evaluated action, which ``python -m mvit_det.evaluation`` can evaluate again; and in
            ``pictures/`` AP by class, precision-recall curves, and key frames with predictions next
            to ground truth (all of them in ``overview.png``).
        mode: "official", the scorer of the dataset, or "pyslowfast", where more than 50 detections
            per key frame count, and those at key frames that are not in the ground truth are false
            positives; see `frame_ap`.
        num_pictures: number of key frames to draw.
        score_threshold: from 0 to 1; predictions of a lower score are not drawn.
        pixel_mean: subtracted from the model's inputs, RGB from 0 to 1; for the pictures only.
        pixel_std: divisor of the model's inputs, RGB; for the pictures only.

    Raises:
        UserError: the dataset has no ground truth, or a file cannot be used.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        mode: str = "official",
        num_pictures: int = 8,
        score_threshold: float = 0.5,
        pixel_mean: Sequence[float] = (0.45, 0.45, 0.45),
        pixel_std: Sequence[float] = (0.225, 0.225, 0.225),
    ) -> None:
        check_choice("ActionMetrics", MODES, mode=mode)
        check_count("ActionMetrics", num_pictures=num_pictures)
        metadata = MetadataCatalog.get(dataset_name)
        files = metadata.get("ground_truth", None)
        if not files:
            raise UserError(
                f"Dataset {dataset_name!r} has no ground truth to evaluate against: give the csv "
                "files of its annotated actions to action_clips."
            )
        self._names: dict[int, str] = dict(metadata.actions)
        self._truth = read_truth(files, *(metadata.get(k, None) for k in ("excluded", "seconds")))
        self._truth.check_names(self._names)
        self._folder = Path(output_dir) if output_dir is not None else None
        self._mode = mode
        self._outputs = np.array(sorted(self._names)) - 1
        self._key_frames = self._truth.key_frames(self._names)
        self._score_threshold = score_threshold
        self._new_pictures = lambda: KeyFrameExamples(num_pictures, pixel_mean, pixel_std)
        self.reset()

    def reset(self) -> None:
        """Forget all detections."""
        self._frames: list[tuple[str, float, int]] = []  # video, second, number of boxes
        # NOTE: one growing buffer each. Many small arrays, allocated between the large ones of the
        # batches, would fragment the memory.
        self._columns = bytearray(), bytearray()  # float32: boxes (N, 4), scores (N, K)
        self._pictures = self._new_pictures()

    def process(self, inputs: dict[str, Any], outputs: Sequence[Tensor]) -> None:
        """Add a batch of B clips.

        Args:
            inputs: lists of length B: "video" (name), "second", "original_boxes" (N_i, 4) x1, y1,
                x2, y2 as fractions of the frame; optionally "unreadable", None for each clip that
                could be read.
            outputs: for each clip probabilities (N_i, C); column k is the action with id k + 1.

        Raises:
            UserError: shapes do not match, or a score is not finite.
        """
        reasons = inputs.get("unreadable") or [None] * len(inputs["video"])
        if len(outputs) != len(reasons):
            raise UserError(
                f"The model returns scores for {len(outputs)} of {len(reasons)} clips: it must "
                "return one tensor (boxes, actions) per clip."
            )
        columns = (inputs[name] for name in ("video", "second", "original_boxes"))
        for index, (video, second, boxes, scores) in enumerate(zip(*columns, outputs)):
            if reasons[index] is not None:
                continue
            boxes, scores = boxes.float().cpu().numpy(), scores.float().cpu().numpy()
            self._check(f"{video}, second {second:g}", boxes, scores)
            scores = scores[:, self._outputs]
            self._frames.append((video, second, len(boxes)))
            for buffer, values in zip(self._columns, (boxes, scores)):
                buffer += values.tobytes()
            if self._folder is not None and (video, second) in self._key_frames:
                self._pictures.offer(inputs, index, boxes, scores)

    def _check(self, place: str, boxes: np.ndarray, scores: np.ndarray) -> None:
        """Check the scores (N, C) of N boxes; ``place`` is the key frame, for messages."""
        if scores.ndim != 2 or len(scores) != len(boxes):
            raise UserError(
                f"{place}: the model returns scores of shape {scores.shape} for {len(boxes)} "
                "boxes: it must return one row per box."
            )
        if scores.shape[1] <= self._outputs[-1]:
            raise UserError(
                f"{place}: the model has {scores.shape[1]} outputs, but actions up to id "
                f"{self._outputs[-1] + 1} are evaluated: set num_classes to that of the dataset."
            )
        if not np.isfinite(scores).all():
            raise not_finite(f"{place}: the scores")

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return {"actions": {"mAP50", "AP-<name>" of each evaluated action}} in percent.

        An action without ground truth is NaN and does not count for the mean.
        """
        gathered = comm.gather((self._frames, *self._columns, self._pictures.kept), dst=0)
        if not comm.is_main_process():
            return {}
        frames = [frame for part in gathered for frame in part[0]]
        if not frames:
            logger.warning("ActionMetrics received no readable key frame.")
            return {}
        _, box_buffers, score_buffers, pictures = zip(*gathered)
        boxes = _round_as_written(np.frombuffer(b"".join(box_buffers), np.float32))
        scores = np.frombuffer(b"".join(score_buffers), np.float32)
        scores = scores.reshape(-1, len(self._outputs))
        ends = np.cumsum([count for *_, count in frames])[:-1]
        parts = zip(frames, np.split(boxes, ends), np.split(scores, ends))
        # duplicates of a key frame count once
        tested = {(video, second): part for (video, second, _), *part in reversed([*parts])}
        rows = [(*key, *tested[key]) for key in sorted(tested)]
        table = detections_table(rows, (self._outputs + 1).tolist())
        untested = len(self._key_frames.difference(tested))
        if untested:
            logger.warning(
                "%d of %d key frames with ground truth were not tested (they could not be read, "
                "have no proposed box, or their video is missing) and count as missed.",
                *(untested, len(self._key_frames)),
            )
        if self._folder is not None:
            key_frames = lowest_keys(chain(*pictures), self._pictures.count, 3)
            self._save(self._folder, table, key_frames)
        return report_actions(self._truth, table, self._names, self._folder, self._mode)

    def _save(self, folder: Path, table: BoxTable, key_frames: list[KeyFrame]) -> None:
        path, pictures = folder / DETECTIONS, folder / "pictures"
        with log_write_errors("Detections in the official format", path):
            folder.mkdir(parents=True, exist_ok=True)
            write_detections(path, table)
        with log_write_errors("Key frames", pictures):
            draw_key_frames(pictures, key_frames, self._truth, self._names, self._score_threshold)


def _round_as_written(boxes: np.ndarray) -> np.ndarray:
    """Round boxes (N * 4,) to the six digits of the csv file, so that both give the same metrics.

    Scores need no rounding: only their order matters, and the file preserves it.
    """
    values = [float(f"{value:.6g}") for value in boxes.tolist()]
    return np.array(values, np.float64).reshape(-1, 4)
