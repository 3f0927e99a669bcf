"""What a task is to all that do not know it: training's summary, custom data, prediction, benchmark."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvit_det.data.custom.categories import (
    Category,
    categories_from_config,
    dataset_categories,
    numbered,
)
from mvit_det.data.custom.files import CustomFiles
from mvit_det.data.detection.annotations import coco_categories
from mvit_det.data.detection.coco import registered_categories
from mvit_det.errors import UserError

logger = logging.getLogger(__name__)

Names = Sequence[str] | str | os.PathLike
Categories = Sequence[Category]
Row = dict[str, Any]  # of a JSON file
Pair = tuple[Any, Any]


class Inference(Protocol):
    """How a trained model of a task is asked, and what becomes of its answers.

    `Predictor` calls prepare, batch, the model, results; what writes files calls draw and rows.
    Images are (H, W, 3) uint8, BGR. For key frames there are ``sampling``, ``fps`` and
    ``num_actions`` besides, for videos ``fps``, and ``views(video, frames)`` instead of prepare.
    """

    def prepare(self, *given: Any) -> tuple[torch.Tensor, Any]:
        """Make the model's input and what goes with it, as the config's test mapper does.

        Of an image; of a clip (T, H, W, 3) RGB and boxes (N, 4) where inputs are key frames.
        """

    def batch(self, samples: Sequence[tuple[torch.Tensor, Any]]) -> Any:
        """Collate samples, whose tensors have one shape, into the model's input."""

    def results(self, outputs: Any) -> list[Any]:
        """Split the model's output into one result per sample, on the CPU."""

    def draw(self, image: np.ndarray, result: Any, categories: Categories) -> np.ndarray:
        """Draw a result on a copy of an image; a small image is enlarged."""

    def rows(self, result: Any, image_id: int, categories: Categories) -> list[Row]:
        """Give the entries of predictions.json for one image or video."""

    def summary(self, rows: int) -> str:
        """Say in words what the entries are."""


class Task:
    """One of the tasks that configs are for, and the one place that knows what is particular to it.

    A config names its task next to its model, ``task = L(Detection)()``, and train_net.py,
    `mvit_det.predict` and `mvit_det.benchmark` ask that object alone. For a task of your own, write a
    subclass in any module that can be imported and name it in the config: there is no registry.
    Whatever a subclass leaves out, the task has not: the commands then say so.

    Attributes:
        model: what its model is, for sentences: "this config is of a detector".
        kind: the same as a word of tables.
        num_classes_key: where a config says how many classes the model has.
        inputs: what prediction goes over: "pictures" (and each frame of videos), "videos" (as a
            whole, or window by window; results are averaged over views), or "key frames" (of videos,
            with boxes of people that are given or found).
        gives_boxes: results are `Instances`, so that the model can find people for others.
        files, more_files: the kinds of custom data that each split needs, such as ("json", "images")
            for --train-json and --train-images; and those that it takes besides.
        own_data: a config, and the flags, of the command that trains on custom data.
        predict_inputs: what to give to ``python -m mvit_det.predict``.
        headlines: the metrics that a reader looks for first, in this order.
        leaves: what evaluations leave in the output folder: file -> what it is.
        two_stages: the model has Detectron2's two-stage interface. The FLOPs of its parts are counted
            one by one, on as many boxes as is the convention; of others those of evaluation are.
    """

    model: ClassVar[str] = "no task that is known"
    kind: ClassVar[str] = "model"
    num_classes_key: ClassVar[str] = "model.num_classes"
    inputs: ClassVar[str] = ""
    gives_boxes: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = ()
    more_files: ClassVar[tuple[str, ...]] = ()
    own_data: ClassVar[tuple[str, str] | None] = None
    predict_inputs: ClassVar[str] = ""
    headlines: ClassVar[tuple[str, ...]] = ()
    leaves: ClassVar[Mapping[str, str]] = {}
    two_stages: ClassVar[bool] = False

    # ---------------------------------------------------------------------------------- custom data

    def use_custom_data(
        self, cfg: DictConfig, files: CustomFiles, processes: int = 1
    ) -> DictConfig:
        """Replace the data of a config, its number of classes, and its schedule.

        Args:
            cfg: changed in place; overrides of the command line come later, so they win.
            processes: that train (``--num-gpus`` times ``--num-machines``).
        """
        files.check(self.model, self.files, self.more_files)
        self.replace_data(cfg, files.absolute(), processes)
        for evaluator in cfg.dataloader.evaluator:
            if "dataset_name" in evaluator:
                evaluator.dataset_name = "own_val"
        return cfg

    @staticmethod
    def replace_data(cfg: DictConfig, files: CustomFiles, processes: int) -> None:
        """Do so, a static method; ``files`` are complete. The test data are called "own_val"."""

    def check_custom_data(self, cfg: DictConfig, files: CustomFiles) -> None:
        """Look at what else can be wrong, with overrides applied, before training starts."""

    # --------------------------------------------------------------------------------------- classes

    def data_categories(self, cfg: DictConfig) -> list[Category] | None:
        """Tell the classes of the data that a config names; None if nothing is known.

        The data need not be there: only for custom data a file or folder is read, if it exists.
        """
        return split_categories(cfg, "test")

    def categories(self, cfg: DictConfig, class_names: Names | None = None) -> list[Category]:
        """Tell the classes of a model, for prediction; numbers for names where nothing tells them.

        Args:
            class_names: see `given_categories`; by default what the config or its data tell.
        """
        count = OmegaConf.select(cfg, self.num_classes_key)
        known = self.known_categories(cfg, class_names)
        if known is not None and count in (None, len(known)):
            return known
        if class_names is not None:
            raise UserError(
                f"{len(known)} class names were given, but the model has {count} classes."
            )
        if count is None:
            raise UserError("Nothing tells the classes of this model: give --class-names.")
        logger.warning("The names of the classes are not known: use --class-names to give them.")
        return numbered([f"class {number}" for number in range(1, count + 1)])

    def known_categories(self, cfg: DictConfig, class_names: Names | None) -> Categories | None:
        """Tell classes as `categories`, without comparing them with the model; None if unknown."""
        if class_names is not None:
            return self.given_categories(class_names)
        return categories_from_config(cfg) or self.data_categories(cfg)

    def given_categories(self, names: Names) -> list[Category]:
        """Read classes that the user names.

        Args:
            names: the names themselves; or a text file with one per line; or a COCO file (.json),
                whose ids are taken as well.
        """
        if not isinstance(names, (str, os.PathLike)):
            return numbered(list(names))
        path = Path(names)
        if not path.is_file():
            raise UserError(f"The file of class names {path} does not exist: correct the path.")
        if path.suffix == ".json":
            return coco_categories(path)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"Class names cannot be read from {path} ({error}): write one name per line."
            ) from error
        return numbered([line.strip() for line in lines if line.strip()])

    # --------------------------------------------------------------------- prediction and benchmark

    def inference(self, cfg: DictConfig, score_threshold: float = 0.0) -> Inference:
        """Make what asks a model of this config, of the parts of its test loader.

        Args:
            score_threshold: results of a lower score are left out, where there may be any number.
        """
        raise self._unknown("predict with")

    def random_inputs(self, model: nn.Module, shape: Sequence[int], device: torch.device) -> Pair:
        """Make random inputs in the form that the model takes: for evaluation, and for training.

        Args:
            shape: (B, 3, H, W), or (B, 3, T, H, W) for clips.
        """
        raise self._unknown("benchmark")

    def _unknown(self, what: str) -> UserError:
        return UserError(
            f"This config is of {self.model}, so there is no way to {what} its model: name the task "
            "next to the model, such as `task = L(Detection)()` (see mvit_det.tasks)."
        )


def split_categories(cfg: DictConfig, split: str) -> list[Category] | None:
    """The classes of the data of "train" or "test" that a config names; None if nothing is known."""
    node = OmegaConf.select(cfg, f"dataloader.{split}.dataset")
    return dataset_categories(node or {}, registered_categories)


def required_mapper(cfg: DictConfig, *keys: str) -> DictConfig:
    """The node that prepares test data; refuse a config where it lacks one of the keys."""
    mapper = OmegaConf.select(cfg, "dataloader.test.mapper") or {}
    if not set(keys) <= mapper.keys():
        raise UserError(
            f"This config has no dataloader.test.mapper with {' and '.join(keys)}, which tell how "
            "inputs are prepared for the model: add it."
        )
    return mapper
