"""Image classification: the best classes of each image."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from detectron2.config import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import nn

from mvit_det.data.checks.classes import class_counts, class_findings
from mvit_det.data.checks.findings import FileCheck, Finding
from mvit_det.data.checks.pictures import picture_checks
from mvit_det.data.classification.custom import use_custom_images
from mvit_det.data.custom.categories import (
    Category,
    categories_from_config,
    categories_to_config,
    class_folders_of,
    dataset_categories,
    trained_config,
)
from mvit_det.errors import UserError, not_finite, shorten_list
from mvit_det.evaluation.classification.metrics import TOP, best_classes
from mvit_det.evaluation.drawing.boxes import enlargement, resize_image
from mvit_det.evaluation.drawing.labels import panel
from mvit_det.recognition.program import ClassifierProgram
from mvit_det.tasks.base import (
    Categories,
    Pair,
    Row,
    Task,
    arguments_of,
    required_mapper,
    split_categories,
)

# value of the key ``classes`` of a data set that has the classes of the run
_FOLLOWS = "${categories}"
# steps of a transform that the exported run.py has
_EXPORTED_STEPS = ("Resize", "CenterCrop", "MaybeToTensor", "ToTensor", "Normalize")


class Classification(Task):
    """Classify images."""

    model = "a classifier of images"
    kind = "recognizer"
    inputs = "pictures"
    files = ("images",)
    replace_data = staticmethod(use_custom_images)
    custom_data_command = (
        "imagenet/mvitv2_t_in1k",
        "--train-images FOLDER --val-images FOLDER  (one folder per class)",
    )
    predict_inputs = "PICTURES"
    program = ClassifierProgram
    headlines = ("top1", "top5")
    dump_key = "dataloader.evaluator.0.dump"
    output_files = {
        "classification_predictions.npz": "the five best classes of each image (numpy.load)",
        "class_accuracy.csv": "accuracy of each class, and what it is taken for",
        "accuracy.png": "accuracy curves",
        "pictures/overview.png": "predictions next to the ground truth",
        "pictures/class_accuracy.png": "accuracy by class",
        "pictures/confusion.png": "which classes are taken for which",
    }

    def data_categories(self, cfg: DictConfig) -> list[Category] | None:
        """Return the classes of the data, one per output of the model; None if unknown.

        Those of the training data come first: the test data may have fewer, as for ImageNet-21K
        models that are tested on ImageNet-1K.
        """
        found = (split_categories(cfg, split) for split in ("train", "test"))
        return next(filter(None, (self._one_per_output(cfg, known) for known in found)), None)

    def _one_per_output(
        self, cfg: DictConfig, known: list[Category] | None
    ) -> list[Category] | None:
        """Return the classes if the model has an output for each, else None."""
        outputs = OmegaConf.select(cfg, self.num_classes_key)
        return known if known and outputs in (None, len(known)) else None

    def settle_classes(self, cfg: DictConfig, training: bool, resume: bool = False) -> None:
        """Set ``categories`` to the trained classes, and label the test data by them.

        They are those of the training data, or in an evaluation those of the run that trained the
        weights (`trained_config`).

        Raises:
            UserError: the run that is resumed has other classes, or the config gives the test data
                other ``classes``.
        """
        run = None
        if resume or not training:
            trained = trained_config(cfg, resume and training)
            run = trained and self._one_per_output(cfg, categories_from_config(trained))
        data = self.data_categories(cfg) if training or not run else None
        if run and data and not _same(run, data):
            raise UserError(_contradiction("The training data", data, run))
        known = run or data
        if not known:
            return
        node = test_dataset(cfg)
        takes_classes = "classes" in arguments_of(node)
        if takes_classes and node.get("classes") is not None and not _follows(node):
            given = dataset_categories(node)
            if given and not _same(given, known[: len(given)]):
                if not _numbered(known):
                    raise UserError(_contradiction("The test data", given, known))
                known = self._one_per_output(cfg, given) or known  # names for the numbers
        elif takes_classes and node.get("num_classes") in (None, len(known)):
            node.classes = _FOLLOWS
        cfg.categories = categories_to_config(known)

    def check_test_data(self, cfg: DictConfig, dataset: Any) -> None:
        """Accept the classes of the test data: `settle_classes` has compared their folders."""

    def check_files(
        self, cfg: DictConfig, split: str, full: bool = False
    ) -> Iterator[Finding | FileCheck]:
        """Compare the classes of both splits, and check that all images can be decoded."""
        dataset = instantiate(cfg.dataloader[split].dataset)
        if split == "train":
            tested = instantiate(cfg.dataloader.test.dataset)
            yield from class_findings(class_counts(dataset), class_counts(tested), "images")
        mapper = cfg.dataloader[split].mapper
        size = OmegaConf.select(cfg, "model.backbone.input_size") or [0]
        yield from picture_checks(dataset, mapper.get("exif_transpose", False), min(size))

    def inference(self, cfg: DictConfig, score_threshold: float = 0.0) -> "ClassInference":
        """Build `ClassInference` from the transform of the test mapper, ignoring the threshold."""
        return ClassInference(instantiate(required_mapper(cfg, "transform").transform))

    def preprocessing(self, cfg: DictConfig) -> dict[str, Any]:
        """Describe resizing, crop and normalisation.

        Raises:
            UserError: the transform is another one than those of `test_transform`.
        """
        transform = instantiate(required_mapper(cfg, "transform").transform)
        steps = {type(step).__name__: step for step in getattr(transform, "transforms", ())}
        if list(steps) != [n for n in _EXPORTED_STEPS if n in steps] or "Normalize" not in steps:
            raise UserError(
                f"dataloader.test.mapper.transform with {shorten_list(steps)} cannot be exported: "
                "test_transform of a square size, or with protocol=resize, can."
            )
        resize, normalize = steps["Resize"], steps["Normalize"]
        size = resize.size if isinstance(resize.size, int) else list(resize.size)
        size = size[0] if isinstance(size, list) and len(size) == 1 else size
        crop = list(steps["CenterCrop"].size) if "CenterCrop" in steps else None
        numbers = {"mean": normalize.mean, "std": normalize.std}
        numbers = {k: [float(x) for x in torch.as_tensor(v).flatten()] for k, v in numbers.items()}
        key = "short_side" if isinstance(size, int) else "size"
        resized = {key: size, "interpolation": resize.interpolation.value}
        return {"resize": resized, "crop": crop, "channels": "RGB", "scale": 1 / 255, **numbers}

    def random_inputs(self, model: nn.Module, shape: Sequence[int], device: torch.device) -> Pair:
        """Make images or clips of ``shape`` and labels (B,) of int64."""
        inputs = {"inputs": torch.randn(*shape, device=device)}
        labels = torch.randint(cast(int, model.num_classes), (shape[0],), device=device)
        return inputs, {**inputs, "labels": labels}


def test_dataset(cfg: DictConfig) -> DictConfig:
    """Return the node of the test data, in older configs inside `video_views`; {} if absent."""
    node = OmegaConf.select(cfg, "dataloader.test.dataset") or OmegaConf.create()
    while node.get("dataset"):
        node = node.dataset
    return node


def _follows(node: DictConfig) -> bool:
    """Return whether the classes of a node are those of the key ``categories``."""
    raw: Any = OmegaConf.to_container(node, resolve=False)
    return raw.get("classes") == _FOLLOWS


def _numbered(classes: list[Category]) -> bool:
    """Return whether the classes of a list of videos have no names."""
    return class_folders_of(classes) == [str(number) for number in range(len(classes))]


def _same(first: list[Category], second: list[Category]) -> bool:
    """Return whether the classes are the same, by folder or by name, in the same order."""
    by_name = [[category["name"] for category in part] for part in (first, second)]
    return class_folders_of(first) == class_folders_of(second) or by_name[0] == by_name[1]


def _contradiction(what: str, given: list[Category], trained: list[Category]) -> str:
    listed = [shorten_list(class_folders_of(part), 20) for part in (given, trained)]
    return (
        f"{what} have the classes {listed[0]}, but the model was trained on {listed[1]}: give both "
        "the same classes in the same order, or train another model on the new ones."
    )


@dataclass
class ClassInference:
    """Classify images: results are the probabilities (K,) of all classes.

    Attributes:
        transform: maps an RGB Pillow image to the model's input (3, h, w).
    """

    transform: Callable[[Any], torch.Tensor]

    def prepare(self, image: np.ndarray) -> tuple[torch.Tensor, None]:
        """Transform an image (H, W, 3) uint8 BGR to (3, h, w)."""
        return self.transform(Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))), None

    def batch(self, samples: Sequence[tuple[torch.Tensor, None]]) -> dict[str, torch.Tensor]:
        """Collate samples into {"inputs": (B, 3, h, w)}."""
        return {"inputs": torch.stack([pixels for pixels, _ in samples])}

    def results(self, outputs: torch.Tensor) -> list[torch.Tensor]:
        """Split scores (B, K) into those (K,) of each image, on the CPU.

        Raises:
            UserError: a score is not finite.
        """
        return list(finite(outputs))

    def draw(self, image: np.ndarray, result: torch.Tensor, categories: Categories) -> np.ndarray:
        """Draw the best classes and their scores at the top left of an image (H, W, 3) BGR."""
        large = resize_image(image, enlargement(*image.shape[:2]))
        height, width = large.shape[:2]
        scored = best(result, categories)
        lines = tuple(f"{score:.0%} {category['name']}" for category, score in scored)
        plate = panel(lines, (255, 255, 255), max(16, min(height, width) // 24), width)
        picture = Image.fromarray(large)
        picture.paste(plate, (0, 0), plate)
        return np.array(picture)

    def rows(self, result: torch.Tensor, image_id: int, categories: Categories) -> list[Row]:
        """Return one entry with the best classes, best first."""
        return [{"image_id": image_id, "classes": class_rows(best(result, categories))}]

    def summary(self, rows: int) -> str:
        """Describe the entries of predictions.json."""
        return f"up to {TOP} classes for each of {rows} images"


def class_rows(scored: Sequence[tuple[Category, float]]) -> list[Row]:
    """Convert classes with their scores to entries of predictions.json."""
    return [dict(category_id=each["id"], name=each["name"], score=score) for each, score in scored]


def finite(scores: torch.Tensor) -> torch.Tensor:
    """Move scores to the CPU as float32; raise a `UserError` if one is not finite."""
    scores = scores.float().cpu()
    if not torch.isfinite(scores).all():
        raise not_finite("The model's scores")
    return scores


def best(result: torch.Tensor, categories: Sequence[Category]) -> list[tuple[Category, float]]:
    """Return (class, score) pairs of the `TOP` highest scores in (K,), best first."""
    scores, classes = best_classes(result[None])
    return [(categories[k], score) for k, score in zip(classes[0].tolist(), scores[0].tolist())]
