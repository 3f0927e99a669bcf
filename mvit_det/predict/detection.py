"""Prediction of a detector: boxes and masks, in COCO's result format."""

from collections.abc import Callable, Sequence
from typing import Any

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import instantiate
from detectron2.structures import Instances
from omegaconf import DictConfig
from PIL import Image

from mvit_det.data.custom.categories import Category
from mvit_det.evaluation.detection.evaluator import compact, result_rows
from mvit_det.evaluation.drawing.boxes import enlargement, overlay, resized


class Detection:
    """Finds objects: the results are Detectron2's `Instances`, the best score first.

    Args:
        augmentations: resize a picture.
        image_format: the order of the model's channels, as Detectron2 names it.
        score_threshold: detections of a lower score are dropped.
    """

    num_classes_key = "model.roi_heads.num_classes"

    def __init__(
        self,
        augmentations: Callable[[T.AugInput], Any],
        image_format: str,
        score_threshold: float = 0.0,
    ) -> None:
        self.augmentations = augmentations
        self.image_format = image_format
        self.score_threshold = score_threshold

    @classmethod
    def of_mapper(cls, mapper: DictConfig, score_threshold: float) -> "Detection":
        """With the resizing that the config's mapper does in testing."""
        augmentations = T.AugmentationList(instantiate(mapper.augmentations))
        return cls(augmentations, mapper.image_format, score_threshold)

    def prepare(self, image: np.ndarray) -> tuple[torch.Tensor, dict[str, Any]]:
        """A picture (H, W, 3) BGR as the test mapper gives it to the model; and its own size."""
        height, width = image.shape[:2]
        if self.image_format != "BGR":
            image = np.asarray(Image.fromarray(image[:, :, ::-1]).convert(self.image_format))
            image = image.reshape(height, width, -1)
        given = T.AugInput(image)
        self.augmentations(given)
        channels_first = np.ascontiguousarray(given.image.transpose(2, 0, 1))
        return torch.as_tensor(channels_first), {"height": height, "width": width}

    def batch(self, samples: Sequence[tuple[torch.Tensor, dict[str, Any]]]) -> list[dict[str, Any]]:
        """What the model takes."""
        return [{"image": pixels, **size} for pixels, size in samples]

    def results(self, outputs: list[dict[str, Instances]]) -> list[Instances]:
        """What the model gave, one by one and on the CPU."""
        found = [output["instances"].to("cpu") for output in outputs]
        return [one[one.scores >= self.score_threshold] for one in found]

    def draw(
        self, image: np.ndarray, result: Instances, categories: Sequence[Category]
    ) -> np.ndarray:
        """Detections on an image (H, W, 3), both BGR; a small image is enlarged."""
        names = [category["name"] for category in categories]
        large = resized(image, enlargement(*image.shape[:2]))
        return overlay(large[:, :, ::-1], result, names)[:, :, ::-1]

    def rows(
        self, result: Instances, image_id: int, categories: Sequence[Category]
    ) -> list[dict[str, Any]]:
        """Detections of one picture in COCO's result format."""
        return list(
            result_rows(compact(result), image_id, [category["id"] for category in categories])
        )

    def told(self, rows: int) -> str:
        """What has come of it, in words."""
        return f"{rows} objects of score >= {self.score_threshold:g}"
