"""Image classification: the best classes of each image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from detectron2.config import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import nn

from mvit_det.data.classification.custom import use_custom_images
from mvit_det.data.custom.categories import Category
from mvit_det.errors import not_finite
from mvit_det.evaluation.classification.metrics import TOP, best_classes
from mvit_det.evaluation.drawing.boxes import enlargement, resize_image
from mvit_det.evaluation.drawing.labels import panel
from mvit_det.tasks.base import Categories, Pair, Row, Task, required_mapper, split_categories


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
    headlines = ("top1", "top5")
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

        If the test data have fewer classes than the model, as for ImageNet-21K models that are
        tested on ImageNet-1K, the classes of the training data are returned.
        """
        outputs = OmegaConf.select(cfg, self.num_classes_key)
        candidates = (split_categories(cfg, split) for split in ("test", "train"))
        return next((each for each in candidates if each and outputs in (None, len(each))), None)

    def inference(self, cfg: DictConfig, score_threshold: float = 0.0) -> "ClassInference":
        """Build `ClassInference` from the transform of the test mapper, ignoring the threshold."""
        return ClassInference(instantiate(required_mapper(cfg, "transform").transform))

    def random_inputs(self, model: nn.Module, shape: Sequence[int], device: torch.device) -> Pair:
        """Make images or clips of ``shape`` and labels (B,) of int64."""
        inputs = {"inputs": torch.randn(*shape, device=device)}
        labels = torch.randint(cast(int, model.num_classes), (shape[0],), device=device)
        return inputs, {**inputs, "labels": labels}


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
