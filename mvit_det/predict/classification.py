"""Prediction of a classifier: the best classes of each picture."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import instantiate
from omegaconf import DictConfig
from PIL import Image, ImageDraw, ImageFont

from mvit_det.data.categories import Category
from mvit_det.errors import UserError
from mvit_det.evaluation.classification_metrics import TOP, best_classes
from mvit_det.evaluation.drawing import enlargement, resized


class Classification:
    """Names pictures: the results are the scores (K,) of all classes.

    Args:
        transform: makes the model's input (3, H, W) of an RGB picture of Pillow.
    """

    num_classes_key = "model.num_classes"

    def __init__(self, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.transform = transform

    @classmethod
    def of_mapper(cls, mapper: DictConfig) -> "Classification":
        """With the transform that the config's mapper does in testing."""
        return cls(instantiate(mapper.transform))

    def prepare(self, image: np.ndarray) -> tuple[torch.Tensor, None]:
        """A picture (H, W, 3) BGR as the test mapper gives it to the model."""
        return self.transform(Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))), None

    def batch(self, samples: Sequence[tuple[torch.Tensor, None]]) -> dict[str, torch.Tensor]:
        """What the model takes."""
        return {"inputs": torch.stack([pixels for pixels, _ in samples])}

    def results(self, outputs: torch.Tensor) -> list[torch.Tensor]:
        """What the model gave, one by one and on the CPU."""
        scores = outputs.float().cpu()
        if not torch.isfinite(scores).all():
            raise UserError(
                "The model gives scores that are no finite numbers: its weights are damaged; use "
                "those of an earlier checkpoint."
            )
        return list(scores)

    def draw(
        self, image: np.ndarray, result: torch.Tensor, categories: Sequence[Category]
    ) -> np.ndarray:
        """The best classes and their scores on an image (H, W, 3), both BGR; a small one is enlarged."""
        large = resized(image, enlargement(*image.shape[:2]))
        picture = Image.fromarray(np.ascontiguousarray(large[:, :, ::-1]))
        lines = [f"{score:.0%} {category['name']}" for category, score in _best(result, categories)]
        size = max(16, min(picture.size) // 24)
        font = ImageFont.load_default(size=size)
        draw = ImageDraw.Draw(picture, "RGBA")
        width = max(draw.textlength(line, font=font) for line in lines)
        draw.rectangle((0, 0, width + size, (len(lines) + 0.5) * 1.25 * size), fill=(0, 0, 0, 150))
        for number, line in enumerate(lines):
            draw.text((size / 2, (number + 0.15) * 1.25 * size), line, fill="white", font=font)
        return np.asarray(picture)[:, :, ::-1]

    def rows(
        self, result: torch.Tensor, image_id: int, categories: Sequence[Category]
    ) -> list[dict[str, Any]]:
        """One entry per picture, with its best classes, the best first."""
        classes = [
            {"category_id": category["id"], "name": category["name"], "score": score}
            for category, score in _best(result, categories)
        ]
        return [{"image_id": image_id, "classes": classes}]

    def told(self, rows: int) -> str:
        """What has come of it, in words."""
        return f"up to {TOP} classes for each of {rows} images"


def _best(result: torch.Tensor, categories: Sequence[Category]) -> list[tuple[Category, float]]:
    scores, classes = best_classes(result[None])
    return [(categories[k], score) for k, score in zip(classes[0].tolist(), scores[0].tolist())]
