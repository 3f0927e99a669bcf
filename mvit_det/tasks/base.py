"""The interface of a task to training, custom data, prediction and the benchmark."""

import inspect
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvit_det.data.checks.findings import FileCheck, Finding
from mvit_det.data.custom.categories import (
    Category,
    categories_from_config,
    categories_to_config,
    dataset_categories,
    numbered,
)
from mvit_det.data.custom.files import CustomFiles
from mvit_det.data.detection.annotations import coco_categories
from mvit_det.data.detection.coco import registered_categories
from mvit_det.errors import UserError, excerpt, shorten_list

logger = logging.getLogger(__name__)

Names = Sequence[str] | str | os.PathLike
Categories = Sequence[Category]
Row = dict[str, Any]  # of a JSON file
Pair = tuple[Any, Any]


class Inference(Protocol):
    """How the model of a task is called, and how its results are drawn and written.

    `Predictor` calls prepare, batch, the model, results; the writers call draw and rows. Images are
    (H, W, 3) uint8, BGR. Action detection adds ``sampling``, ``fps`` and ``num_actions``; video
    classification adds ``fps``, and has ``views(video, frames)`` instead of prepare.
    """

    def prepare(self, *given: Any) -> tuple[torch.Tensor, Any]:
        """Return the model's input for one sample, and its companion data, as the test mapper does.

        Args:
            *given: an image; or for key frames a clip (T, H, W, 3) uint8 RGB and boxes (N, 4), x1,
                y1, x2, y2 in [0, 1].
        """

    def batch(self, samples: Sequence[tuple[torch.Tensor, Any]]) -> Any:
        """Collate samples, whose tensors have equal shapes, into the model's input."""

    def results(self, outputs: Any) -> list[Any]:
        """Split the model's output into one result per sample, on the CPU."""

    def draw(self, image: np.ndarray, result: Any, categories: Categories) -> np.ndarray:
        """Draw a result on a copy of an image (H, W, 3) BGR; small images are enlarged."""

    def rows(self, result: Any, image_id: int, categories: Categories) -> list[Row]:
        """Return the entries of predictions.json for one image or video."""

    def summary(self, rows: int) -> str:
        """Describe in words what the entries are, for the log."""


class Program(Protocol):
    """The model of a task as a module whose inputs and outputs are tensors, for export.

    ``inputs`` and ``outputs`` are name -> (dtype, axes, meaning); an axis is a number, or a letter
    if any size is possible: N is the batch, H and W are pixels.
    """

    inputs: Mapping[str, tuple[str, str, str]]
    outputs: Mapping[str, tuple[str, str, str]]

    def example_shape(self, size: Sequence[int] | None) -> tuple[int, ...]:
        """Return the shape of one sample to trace with, of ``size`` (H, W) or any."""

    def networks(self) -> list[nn.Module]:
        """Return the modules that may compute in half precision."""

    def reference(self, batch: Any, inputs: Mapping | None = None) -> tuple[torch.Tensor, ...]:
        """Return ``outputs`` as the PyTorch model gives them for ``inputs``, for comparison."""

    def nearby(self, batch: Any, inputs: Mapping) -> Iterable[Sequence[torch.Tensor]]:
        """Make the same for inputs that differ by about as much as results do by rounding."""

    def compare(
        self,
        expected: Sequence[torch.Tensor],
        found: Sequence[torch.Tensor],
        nearby: Callable[[], Iterable[Sequence[torch.Tensor]]] = tuple,
    ) -> dict[str, float]:
        """Return by name how much two outputs differ, relative to the largest value.

        Results that one of them lacks are counted as ``missing``, and as ``at_a_cut`` if rounding
        may be the reason, which outputs ``nearby()`` help to tell.
        """

    def encode(self, batch: Any, inputs: Mapping) -> tuple[torch.Tensor, ...]:
        """Convert the model's input to ``inputs``; static."""

    def decode(self, outputs: Sequence[torch.Tensor], batch: Any) -> Any:
        """Convert ``outputs`` to the model's output; static."""


class Task:
    """One of the tasks that configs are for; everything specific to a task is here.

    A config names its task next to its model, ``task = L(Detection)()``; train_net.py,
    `mvit_det.predict` and `mvit_det.benchmark` depend on that object alone. For a custom task,
    write a subclass in any importable module and name it in the config, without any registry. A
    command that needs a method which the subclass lacks raises a `UserError`.

    Attributes:
        model: what the model is, for messages: "this config is of a detector".
        kind: the same as one word for tables.
        num_classes_key: config key of the number of classes.
        inputs: what prediction iterates over: "pictures" (and each frame of videos), "videos"
            (whole or by window; results are averaged over views), or "key frames" (of videos, with
            person boxes that are given or detected).
        gives_boxes: results are `Instances`, so that the model can detect people for others.
        files: kinds of custom data required for each split: ("json", "images") for --train-json and
            --train-images.
        more_files: optional kinds of custom data.
        custom_data_command: a config, and the flags, of the command that trains on custom data.
        predict_inputs: the arguments of ``python -m mvit_det.predict``.
        headlines: the most important metrics, in this order.
        output_files: what evaluations write to the output folder: file -> description.
        program: class of the model as a `Program`, for export.
        dump_key: config key of the file that gets the scores of all samples (--dump); "" if the
            results are not one score per class.
        two_stages: the model has Detectron2's two-stage interface. FLOPs are then counted per part,
            on the conventional number of boxes; otherwise for one evaluation of the whole model.
    """

    model: ClassVar[str] = "an unknown task"
    kind: ClassVar[str] = "model"
    num_classes_key: ClassVar[str] = "model.num_classes"
    inputs: ClassVar[str] = ""
    gives_boxes: ClassVar[bool] = False
    files: ClassVar[tuple[str, ...]] = ()
    more_files: ClassVar[tuple[str, ...]] = ()
    custom_data_command: ClassVar[tuple[str, str] | None] = None
    predict_inputs: ClassVar[str] = ""
    headlines: ClassVar[tuple[str, ...]] = ()
    output_files: ClassVar[Mapping[str, str]] = {}
    dump_key: ClassVar[str] = ""
    program: ClassVar[Any] = None
    two_stages: ClassVar[bool] = False

    # ---------------------------------------------------------------------------------- custom data

    def use_custom_data(
        self, cfg: DictConfig, files: CustomFiles, processes: int = 1
    ) -> DictConfig:
        """Replace the data of a config, its number of classes, and its schedule.

        Args:
            cfg: changed in place; overrides from the command line are applied later, so they win.
            files: the custom data of both splits.
            processes: number of training processes (``--num-gpus`` times ``--num-machines``).

        Raises:
            UserError: a required file is not named, or a flag is for another task.
        """
        files.check(self.model, self.files, self.more_files)
        self.replace_data(cfg, files.absolute(), processes)
        for evaluator in cfg.dataloader.evaluator:
            if "dataset_name" in evaluator:
                evaluator.dataset_name = "custom_val"
        return cfg

    @staticmethod
    def replace_data(cfg: DictConfig, files: CustomFiles, processes: int) -> None:
        """Replace the data in ``cfg``, without an object; name the test data "custom_val"."""

    def check_test_data(self, cfg: DictConfig, dataset: Any) -> None:
        """Judge the test data before the first iteration, by metadata and counts alone.

        Args:
            cfg: of the training.
            dataset: what ``dataloader.test.dataset`` builds.

        Raises:
            UserError: the test data have classes that the training data lack.
        """
        trained, tested = (split_categories(cfg, split) for split in ("train", "test"))
        names = [[each["name"] for each in classes or ()] for classes in (trained, tested)]
        unknown = [name for name in names[1] if name not in set(names[0])]
        named = not all(name.isdigit() for name in names[0])  # as the labels of a list are not
        if named and unknown:
            raise UserError(
                f"dataloader.test.dataset has the classes {shorten_list(unknown, 20)}, which "
                f"dataloader.train.dataset does not have ({shorten_list(names[0], 20)}): give both "
                "the same classes."
            )

    def check_files(
        self, cfg: DictConfig, split: str, full: bool = False
    ) -> Iterator[Finding | FileCheck]:
        """Yield faults of the data, and the checks of all of their files, for `mvit_det.check`.

        What building the data set reports is known to that command.

        Args:
            cfg: complete.
            split: "train" or "test": of ``dataloader.SPLIT.dataset``.
            full: decode all frames of videos, instead of three per video.

        Raises:
            UserError: the data cannot be read at all.
        """
        yield from ()

    def check_refused(self, files: CustomFiles, split: str) -> Iterator[Finding | FileCheck]:
        """Yield the same as `check_files` for custom data that `use_custom_data` refuses.

        Args:
            files: the custom data of both splits.
            split: "train" or "val".

        Raises:
            UserError: the data cannot be read at all.
        """
        yield from ()

    # -------------------------------------------------------------------------------------- classes

    def settle_classes(self, cfg: DictConfig, training: bool, resume: bool = False) -> None:
        """Set the key ``categories`` of a config, so that config.yaml suffices for prediction.

        Args:
            cfg: complete, changed in place.
            training: False: it is evaluated only.
            resume: continue the run in ``train.output_dir``.
        """
        categories = self.data_categories(cfg)
        if categories:
            cfg.categories = categories_to_config(categories)

    def data_categories(self, cfg: DictConfig) -> list[Category] | None:
        """Return the classes of the data that a config names; None if unknown.

        The data need not exist: only for custom data a file or folder is read, if it is there.
        """
        return split_categories(cfg, "test")

    def categories(self, cfg: DictConfig, class_names: Names | None = None) -> list[Category]:
        """Return the classes of a model, for prediction; placeholders "class 1", ... if unknown.

        Args:
            cfg: of the model.
            class_names: see `given_categories`; by default taken from the config or its data.

        Raises:
            UserError: the number of names is not the model's number of classes.
        """
        count = OmegaConf.select(cfg, self.num_classes_key)
        known = self.known_categories(cfg, class_names)
        if known is not None and count in (None, len(known)):
            if class_names is not None:
                _check_order(known, categories_from_config(cfg))
            return known
        if class_names is not None:
            given = len(known or ())
            raise UserError(f"{given} class names were given, but the model has {count} classes.")
        if count is None:
            raise UserError("The classes of this model are unknown: use --class-names.")
        logger.warning("The names of the classes are unknown: use --class-names to name them.")
        return numbered([f"class {number}" for number in range(1, count + 1)])

    def known_categories(self, cfg: DictConfig, class_names: Names | None) -> list[Category] | None:
        """Return the classes as `categories` does, but without comparing them with the model."""
        if class_names is not None:
            return self.given_categories(class_names)
        return categories_from_config(cfg) or self.data_categories(cfg)

    def given_categories(self, names: Names) -> list[Category]:
        """Read classes named by the user.

        Args:
            names: the names themselves; or a text file with one per line; or a COCO file (.json),
                whose ids are used as well.

        Raises:
            UserError: the file does not exist or cannot be read.
        """
        if not isinstance(names, (str, os.PathLike)):
            return numbered(list(names))
        path = Path(names)
        if not path.is_file():
            raise UserError(f"The file of class names {path} does not exist: correct the path.")
        if path.suffix == ".json":
            return coco_categories(path)
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"Class names cannot be read from {path} ({error}): write one name per line."
            ) from error
        return numbered([line.strip() for line in lines if line.strip()])

    # --------------------------------------------------------------------- prediction and benchmark

    def inference(self, cfg: DictConfig, score_threshold: float = 0.0) -> Inference:
        """Build the `Inference` of a config from the parts of its test loader.

        Args:
            cfg: with ``dataloader.test.mapper``.
            score_threshold: from 0 to 1; results of a lower score are dropped, if the task has an
                arbitrary number of results.

        Raises:
            UserError: the config has no such parts, or its task cannot predict.
        """
        raise self._unsupported("predict with")

    def preprocessing(self, cfg: DictConfig) -> dict[str, Any]:
        """Return as numbers how a sample becomes the model's input, for other programs.

        Args:
            cfg: with ``dataloader.test.mapper``.

        Raises:
            UserError: it cannot be described by numbers.
        """
        raise self._unsupported("export")

    def random_inputs(self, model: nn.Module, shape: Sequence[int], device: torch.device) -> Pair:
        """Make random inputs in the form that the model takes: for evaluation, and for training.

        Args:
            model: takes the inputs.
            shape: (B, 3, H, W), or (B, 3, T, H, W) for clips.
            device: of the tensors.

        Raises:
            UserError: the task cannot make inputs, or not for this model.
        """
        raise self._unsupported("benchmark")

    def _unsupported(self, what: str) -> UserError:
        return UserError(
            f"This config is of {self.model}, so there is no way to {what} its model: name the "
            "task next to the model, such as `task = L(Detection)()` (see mvit_det.tasks)."
        )


def _check_order(given: Categories, trained: Categories | None) -> None:
    """Refuse the names of the trained classes in another order."""
    names, right = ([each["name"] for each in part] for part in (given, trained or []))
    if names != right and sorted(names) == sorted(right):
        raise UserError(
            f"The class names {shorten_list(names, 20)} are those of the run in another order: "
            f"give them as it was trained ({shorten_list(right, 20)}), or leave them out."
        )


def split_categories(cfg: DictConfig, split: str) -> list[Category] | None:
    """Return the classes of the "train" or "test" data that a config names; None if unknown."""
    node = OmegaConf.select(cfg, f"dataloader.{split}.dataset")
    return dataset_categories(node or {}, registered_categories)


def required_mapper(cfg: DictConfig, *keys: str) -> DictConfig:
    """Return ``dataloader.test.mapper``, which prepares test data.

    Raises:
        UserError: the config has no such node, or it lacks one of ``keys``.
    """
    mapper: Any = OmegaConf.select(cfg, "dataloader.test.mapper") or {}
    if not set(keys) <= mapper.keys():
        raise UserError(
            f"This config has no dataloader.test.mapper with {' and '.join(keys)}, which define "
            "how inputs are prepared for the model: add it."
        )
    return mapper


def target_of(node: Mapping[str, Any]) -> Any:
    """Resolve the target of a node, which a saved config holds as a path.

    Raises:
        UserError: there is nothing at that path.
    """
    target = node.get("_target_")
    try:
        return get_object(target) if isinstance(target, str) else target
    except (ImportError, ValueError) as error:
        raise UserError(f"_target_={excerpt(target)} does not exist: correct the path.") from error


def arguments_of(node: Mapping[str, Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of the target of a config node, by name."""
    target = target_of(node)
    return inspect.signature(target).parameters if callable(target) else {}
