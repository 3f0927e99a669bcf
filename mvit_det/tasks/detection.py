"""Object detection and instance segmentation: boxes and masks in COCO's formats."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import instantiate
from detectron2.structures import Instances
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import nn

from mvit_det.data.checks.boxes import check_boxes, check_coco_file
from mvit_det.data.checks.findings import FileCheck, Finding
from mvit_det.data.custom.files import CustomFiles
from mvit_det.data.detection.custom import use_custom_boxes
from mvit_det.detection.program import DetectorProgram
from mvit_det.errors import UserError
from mvit_det.evaluation.detection.evaluator import detection_columns, result_rows
from mvit_det.evaluation.drawing.boxes import enlargement, overlay, resize_image
from mvit_det.tasks.base import Categories, Pair, Row, Task, required_mapper
from mvit_det.tasks.random_inputs import random_instances


class Detection(Task):
    """Detect objects in images with Detectron2's detectors, on datasets in COCO format."""

    model = "a detector"
    kind = "detector"
    num_classes_key = "model.roi_heads.num_classes"
    inputs = "pictures"
    gives_boxes = True
    program = DetectorProgram
    two_stages = True
    files = ("json", "images")
    replace_data = staticmethod(use_custom_boxes)
    custom_data_command = (
        "mask_rcnn_mvitv2_t_3x",
        "--train-json FILE --train-images FOLDER --val-json FILE --val-images FOLDER",
    )
    predict_inputs = "PICTURES"
    headlines = ("AP", "AP50")
    output_files = {
        "coco_instances_results.json": "the detections, in COCO format",
        "error_analysis.json": "what costs AP (TIDE), and detections that contradict annotations",
        "ap.png": "AP curves",
        "pictures/overview.png": "predictions next to the ground truth",
        "pictures/precision_recall.png": "precision over recall",
        "pictures/confusion.png": "which classes are taken for which",
    }

    def check_files(
        self, cfg: DictConfig, split: str, full: bool = False
    ) -> Iterator[Finding | FileCheck]:
        """Check the annotations, and that the pictures are as they say."""
        node: Any = OmegaConf.select(cfg, f"dataloader.{split}.dataset")
        augmentations = OmegaConf.select(cfg, "dataloader.test.mapper.augmentations") or []
        dicts = None if {"json_file", "names"} & node.keys() else instantiate(node)
        yield from check_boxes(node, dicts, _Scales(instantiate(augmentations)))

    def check_refused(self, files: CustomFiles, split: str) -> Iterator[Finding | FileCheck]:
        """Check all annotations of a file that has some in a wrong format."""
        file, root = (getattr(files, f"{split}_{kind}") for kind in self.files)
        if file:
            yield from check_coco_file(file, root or "", None, lambda width, height: (1.0, 1.0))

    def inference(self, cfg: DictConfig, score_threshold: float = 0.0) -> "BoxInference":
        """Build `BoxInference` from the augmentations and image format of the test mapper."""
        mapper = required_mapper(cfg, "augmentations", "image_format")
        augmentations = T.AugmentationList(instantiate(mapper.augmentations))
        return BoxInference(augmentations, mapper.image_format, score_threshold)

    def preprocessing(self, cfg: DictConfig) -> dict[str, Any]:
        """Describe the resizing and the order of channels; the program normalises.

        Raises:
            UserError: the test images are changed in another way than by one ResizeShortestEdge.
        """
        mapper = required_mapper(cfg, "augmentations", "image_format")
        steps: list[Any] = list(instantiate(mapper.augmentations))
        sides: set[Any] = {
            side for step in steps for side in getattr(step, "short_edge_length", (None, 0))
        }
        if len(steps) > 1 or len(sides) > 1 or mapper.image_format not in ("BGR", "RGB"):
            raise UserError(
                f"dataloader.test.mapper.augmentations={mapper.augmentations} cannot be exported: "
                "one ResizeShortestEdge of one length can, and image_format BGR or RGB."
            )
        resize: Row = {"short_side": 0, "max_side": None, "interpolation": "bilinear"}
        for step in steps:
            names = {2: "bilinear", 3: "bicubic", 0: "nearest"}
            longest = None if step.max_size == sys.maxsize else int(step.max_size)
            resize = {"short_side": int(sides.pop()), "max_side": longest}
            resize["interpolation"] = names.get(int(step.interp), "bilinear")
        return {"resize": resize, "channels": mapper.image_format, "normalised_by": "the model"}

    def random_inputs(self, model: nn.Module, shape: Sequence[int], device: torch.device) -> Pair:
        """Make uint8 images (B, 3, H, W) as dicts, and the same with 8 random instances each.

        Raises:
            UserError: the model is not a two-stage detector.
        """
        heads: Any = getattr(model, "roi_heads", None)
        if heads is None:
            raise UserError(
                f"{type(model).__name__} is not a two-stage detector, which the benchmark needs: "
                "try --backbone-only."
            )
        height, width = shape[2:]
        images = torch.randint(0, 256, tuple(shape), dtype=torch.uint8, device=device)
        inputs = [{"image": image, "height": height, "width": width} for image in images]
        truth = [random_instances((height, width), heads.num_classes) for _ in images]
        return inputs, [{**x, "instances": instances} for x, instances in zip(inputs, truth)]


@dataclass
class _Scales:
    """Scales of width and height by augmentations, from the size of a picture in pixels."""

    augmentations: Sequence[Any]

    def __call__(self, width: int, height: int) -> tuple[float, float]:
        corner = np.array([[0.0, 0.0], [width, height]])
        for augmentation in self.augmentations:
            sides = np.ptp(corner, axis=0).round().astype(int)
            # takes no memory: only the shape is read
            image = np.broadcast_to(np.uint8(0), (*sides[::-1], 3))
            corner = augmentation.get_transform(image).apply_coords(corner)
        sides = np.ptp(corner, axis=0)
        return float(sides[0] / width), float(sides[1] / height)


@dataclass
class BoxInference:
    """Detect objects: results are Detectron2's `Instances`, best score first.

    Attributes:
        augmentations: resize an image.
        image_format: channel order of the model's input, as Detectron2 names it.
        score_threshold: detections of a lower score are dropped.
    """

    augmentations: Callable[[T.AugInput], Any]
    image_format: str
    score_threshold: float = 0.0

    def prepare(self, image: np.ndarray) -> tuple[torch.Tensor, dict[str, Any]]:
        """Resize an image (H, W, 3) uint8 BGR to (C, h, w), with its original height and width."""
        height, width = image.shape[:2]
        if self.image_format != "BGR":
            image = np.asarray(Image.fromarray(image[:, :, ::-1]).convert(self.image_format))
            image = image.reshape(height, width, -1)
        augmented = T.AugInput(image)
        self.augmentations(augmented)
        channels_first = np.ascontiguousarray(augmented.image.transpose(2, 0, 1))
        return torch.as_tensor(channels_first), {"height": height, "width": width}

    def batch(self, samples: Sequence[tuple[torch.Tensor, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Collate samples into Detectron2's input: dicts of "image", "height" and "width"."""
        return [{"image": pixels, **size} for pixels, size in samples]

    def results(self, outputs: list[dict[str, Instances]]) -> list[Instances]:
        """Return the `Instances` of each image on the CPU, without scores below the threshold."""
        detected = [output["instances"].to("cpu") for output in outputs]
        return [each[each.scores >= self.score_threshold] for each in detected]

    def draw(self, image: np.ndarray, result: Instances, categories: Categories) -> np.ndarray:
        """Draw boxes, masks and labels on a copy of an image (H, W, 3) BGR; enlarge small ones."""
        names = [category["name"] for category in categories]
        large = resize_image(image, enlargement(*image.shape[:2]))
        return overlay(large[:, :, ::-1], result, names)[:, :, ::-1]

    def rows(self, result: Instances, image_id: int, categories: Categories) -> list[Row]:
        """Return the detections in COCO's result format."""
        ids = [category["id"] for category in categories]
        return list(result_rows(detection_columns(result), image_id, ids))

    def summary(self, rows: int) -> str:
        """Describe the entries of predictions.json."""
        return f"{rows} objects of score >= {self.score_threshold:g}"
