"""Spatio-temporal action detection: the actions of each person at key frames of videos."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from detectron2.config import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvit_det.ava_files import read_label_map
from mvit_det.data.actions.custom import use_custom_actions
from mvit_det.data.actions.datasets import action_clips
from mvit_det.data.actions.labels import check_tested_actions
from mvit_det.data.checks.actions import CsvFiles, key_frame_checks
from mvit_det.data.checks.classes import class_findings
from mvit_det.data.checks.findings import FileCheck, Finding
from mvit_det.data.checks.videos import clip_side
from mvit_det.data.custom.categories import Category, categories_from_config, trained_config
from mvit_det.errors import UserError, shorten_list
from mvit_det.evaluation.drawing.boxes import enlargement, resize_image
from mvit_det.evaluation.drawing.people import draw_people
from mvit_det.recognition.program import ActionProgram
from mvit_det.tasks.base import Categories, Names, Pair, Row, Task, required_mapper, target_of
from mvit_det.tasks.classification import class_rows, finite
from mvit_det.tasks.random_inputs import random_boxes
from mvit_det.tasks.video import clip_numbers, sampling_numbers

_MAX_LABELS = 4  # actions drawn at a box


class ActionDetection(Task):
    """Detect the actions of people in given boxes around the key frames of videos (multi-label)."""

    model = "a detector of actions"
    kind = "action detector"
    inputs = "key frames"
    files = ("videos", "actions")
    more_files = ("proposals", "label_map")
    replace_data = staticmethod(use_custom_actions)
    custom_data_command = (
        "ava/mvitv2_s_16x4_k400_ava",
        "--train-videos FOLDER --train-actions CSV --val-videos FOLDER --val-actions CSV",
    )
    predict_inputs = "VIDEOS --boxes CSV"
    program = ActionProgram
    headlines = ("mAP50",)
    output_files = {
        "action_detections.csv": "the scores of each box and action, in AVA's format",
        "map.png": "mAP curve",
        "pictures/overview.png": "predictions next to the ground truth",
        "pictures/precision_recall.png": "precision over recall",
        "pictures/action_ap.png": "AP by action",
    }

    def settle_classes(self, cfg: DictConfig, training: bool, resume: bool = False) -> None:
        """Set ``categories`` to the evaluated actions, whose ids must be those of the run.

        Raises:
            UserError: the run that trained the weights has other names for the ids.
        """
        if resume or not training:
            run = trained_config(cfg, resume and training)
            trained = (run and categories_from_config(run)) or ()
            names = {each["id"]: each["name"] for each in trained}
            tested = {each["id"]: each["name"] for each in self.data_categories(cfg) or ()}
            other = [k for k in tested.keys() & names if tested[k] != names[k]]
            other = [k for k in other if f"action {k}" not in (tested[k], names[k])]  # without map
            if other:
                listed = (shorten_list(f"{k}: {n[k]}" for k in other) for n in (tested, names))
                raise UserError(
                    f"The label map names the actions {next(listed)}, but the model was trained "
                    f"with {next(listed)}: give the label map of the run."
                )
        super().settle_classes(cfg, training, resume)

    def check_test_data(self, cfg: DictConfig, dataset: Any) -> None:
        """Refuse tested actions that are not trained, for data sets of `action_clips`.

        Raises:
            UserError: a tested action has no annotation, or no name, in the training data.
        """
        nodes = [OmegaConf.select(cfg, f"dataloader.{part}.dataset") for part in ("train", "test")]
        if all(isinstance(n, DictConfig) and target_of(n) is action_clips for n in nodes):
            check_tested_actions(*nodes)
        if all(n and n.get("label_map") for n in nodes):  # otherwise one of both has no names
            super().check_test_data(cfg, dataset)

    def check_files(
        self, cfg: DictConfig, split: str, full: bool = False
    ) -> Iterator[Finding | FileCheck]:
        """Yield what is wrong with the csv files of a split, and the checks of its videos.

        Args:
            cfg: with the loaders of both splits.
            split: "train" or "test".
            full: decode all frames, instead of three per video.

        Raises:
            UserError: a file or the data set is refused.
        """
        loader = cfg.dataloader[split]
        files = CsvFiles.of(loader.dataset)
        yield from files.findings()
        with suppress(UserError):  # the other split is refused in its turn
            tested = CsvFiles.of(cfg.dataloader.test.dataset)
            if split == "train" and files.actions and tested.actions:
                yield from class_findings(files.action_counts(), tested.action_counts(), "boxes")
        dataset, side = instantiate(loader.dataset), clip_side(loader.mapper)
        yield from key_frame_checks(dataset, files.actions, side=side, full=full)

    def categories(self, cfg: DictConfig, class_names: Names | None = None) -> list[Category]:
        """Return the evaluated actions; a file of names, but not a list, may omit some.

        Raises:
            UserError: an id is not from 1 to ``model.num_classes``.
        """
        if class_names is None or isinstance(class_names, (str, os.PathLike)):
            known, count = self.known_categories(cfg, class_names), cfg.model.num_classes
            bad_ids = [each["id"] for each in known or () if not 1 <= each["id"] <= count]
            if bad_ids:
                raise UserError(
                    f"Actions with the ids {shorten_list(bad_ids)} were named, but the model has "
                    f"{count} actions, with the ids 1 to {count}: correct the label map or "
                    "model.num_classes."
                )
            if known:
                return known
        return super().categories(cfg, class_names)

    def given_categories(self, names: Names) -> list[Category]:
        """Read actions named by the user, as `Task` does, except that text files are label maps."""
        if isinstance(names, (str, os.PathLike)) and not str(names).endswith(".json"):
            return [{"id": number, "name": name} for number, name in read_label_map(names).items()]
        return super().given_categories(names)

    def preprocessing(self, cfg: DictConfig) -> dict[str, Any]:
        """Describe sampling, resizing, crop and normalisation.

        Raises:
            UserError: the transform is another one than `action_test_transform`.
        """
        inference = self.inference(cfg)
        if not hasattr(inference.transform, "visible_area"):
            raise UserError(
                "dataloader.test.mapper.transform cannot be exported: action_test_transform can."
            )
        numbers = clip_numbers(inference.transform)
        return {"sampling": sampling_numbers(inference.sampling), **numbers}

    def inference(self, cfg: DictConfig, score_threshold: float = 0.0) -> "ActionInference":
        """Build `ActionInference` from the sampling and transform of the test mapper."""
        mapper = required_mapper(cfg, "sampling", "transform")
        fps = OmegaConf.select(cfg, "dataloader.test.dataset.fps")
        parts = instantiate(mapper.sampling), instantiate(mapper.transform)
        return ActionInference(*parts, cfg.model.num_classes, score_threshold, fps)

    def random_inputs(self, model: nn.Module, shape: Sequence[int], device: torch.device) -> Pair:
        """Make clips (B, 3, T, H, W) with one box each, and labels (1, K) for each box."""
        pixels = torch.randn(*shape, device=device)
        count, *_, height, width = shape
        boxes = [random_boxes(1, (height, width)).tensor.to(device) for _ in range(count)]
        labels = torch.randint(2, (count, 1, cast(int, model.num_classes)), device=device)
        inputs = {"inputs": pixels, "boxes": boxes}
        return inputs, {**inputs, "labels": list(labels)}


@dataclass(frozen=True)
class People:
    """The people at a key frame as the model sees them.

    Attributes:
        second: time in the video, at least 0.
        frame: index of the frame on screen at that time.
        size: (H, W) of the video's frames, in pixels.
        boxes: (N, 4) float64, x1, y1, x2, y2 as fractions of the frame.
        scores: (N, K) independent probabilities of the actions, on the CPU.
        box_scores: (N,) float64, confidence that the box is a person; NaN if unknown.
    """

    second: float
    frame: int
    size: tuple[int, int]
    boxes: np.ndarray
    scores: torch.Tensor
    box_scores: np.ndarray


@dataclass
class ActionInference:
    """Detect actions: results are the scores (N, K) of all actions for N boxes.

    `draw` and `rows` take `People`.

    Attributes:
        sampling: chooses the frames of a clip around a key frame.
        transform: maps frames (T, H, W, 3) RGB and boxes (N, 4) in [0, 1] to the model's input
            (3, T, h, w) and boxes in its pixels, as the config does for testing.
        num_actions: K.
        score_threshold: actions of a lower score are neither drawn nor written.
        fps: frames per second of folders of frames.
    """

    sampling: Any
    transform: Any
    num_actions: int
    score_threshold: float
    fps: float | None

    def prepare(self, clip: np.ndarray, boxes: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Transform a clip (T, H, W, 3) uint8 RGB and boxes (N, 4) in [0, 1]."""
        return self.transform(clip, boxes.astype(np.float32))

    def batch(self, samples: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, Any]:
        """Collate samples into {"inputs": (B, 3, T, h, w), "boxes": B tensors (N_i, 4)}."""
        clips, boxes = zip(*samples)
        return {"inputs": torch.stack(clips), "boxes": list(boxes)}

    def results(self, outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the scores (N_i, K) of each clip on the CPU.

        Raises:
            UserError: a score is not finite.
        """
        return [finite(scores) for scores in outputs]

    def draw(self, image: np.ndarray, result: People | None, categories: Categories) -> np.ndarray:
        """Draw boxes with their best actions on a copy of an image (H, W, 3) BGR.

        Small images are enlarged. Nothing is drawn if ``result`` is None.
        """
        large = resize_image(image, enlargement(*image.shape[:2]))
        if result is None:
            return large
        labels = [
            [f"{score:.0%} {category['name']}" for category, score in actions[:_MAX_LABELS]]
            for actions in self.best(result, categories)
        ]
        return draw_people(large[..., ::-1], result.boxes, labels)[..., ::-1]

    def best(self, result: People, categories: Categories) -> list[list[tuple[Category, float]]]:
        """Return (action, score) pairs of each box, best first, at or above the threshold."""
        indices = [category["id"] - 1 for category in categories]
        actions = []
        for scores in result.scores[:, indices].tolist():
            kept = [pair for pair in zip(categories, scores) if pair[1] >= self.score_threshold]
            actions.append(sorted(kept, key=lambda pair: -pair[1]))
        return actions

    def unseen(self, result: People) -> int:
        """Count boxes outside the part of the frame that the model sees; ignore their scores."""
        visible = np.array(self.transform.visible_area(*result.size))
        start = np.maximum(result.boxes[:, :2], visible[:2])
        end = np.minimum(result.boxes[:, 2:], visible[2:])
        return int((end <= start).any(axis=1).sum())

    def rows(self, result: People, image_id: int, categories: Categories) -> list[Row]:
        """Return one entry per box with its actions at or above the threshold, best first."""
        height, width = result.size
        entries = []
        for number, actions in enumerate(self.best(result, categories)):
            left, top, right, bottom = result.boxes[number].tolist()
            box = left * width, top * height, (right - left) * width, (bottom - top) * height
            entry: dict[str, Any] = {"image_id": image_id, "bbox": [round(x, 2) for x in box]}
            if not math.isnan(result.box_scores[number]):
                entry["box_score"] = float(result.box_scores[number])
            entries.append({**entry, "classes": class_rows(actions)})
        return entries

    def summary(self, rows: int) -> str:
        """Describe the entries of predictions.json."""
        return f"{rows} boxes, with the actions of score >= {self.score_threshold:g}"
