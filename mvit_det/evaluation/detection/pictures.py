"""Predictions next to ground truth, as PNG files, drawn while a test set is evaluated."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import annotations_to_instances, read_image
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from PIL import Image

from mvit_det.errors import check_count
from mvit_det.evaluation.drawing.boxes import LONG_SIDE, enlargement, overlay, resize_image
from mvit_det.evaluation.drawing.side_by_side import overview, side_by_side


class PredictionPictures(DatasetEvaluator):
    """Draws some images of a test set: predictions left, ground truth right.

    It runs together with evaluators that return metrics (`DatasetEvaluators`). The images are
    spread evenly over the dataset and are the same in each evaluation; existing files are replaced.
    Each process draws its results at once, so that nothing stays in memory; at the end the main
    process puts all of them on one sheet, ``overview.png``.

    Args:
        dataset_name: a registered dataset of the test images, with annotations.
        output_dir: gets ``pictures/00_<name of the image>.png`` ...
        num_images: number of images to draw.
        score_threshold: from 0 to 1; detections of a lower score are not drawn.
        pictures: a `mvit_det.data.PictureFormat`, which reads the files; None for Detectron2.

    Raises:
        UserError: ``num_images`` is not a whole number of at least 1.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str,
        *,
        num_images: int = 8,
        score_threshold: float = 0.5,
        pictures: Any = None,
    ) -> None:
        check_count("PredictionPictures", num_images=num_images)
        self.dataset_name = dataset_name
        self.folder = Path(output_dir) / "pictures"
        self.num_images = num_images
        self.score_threshold = score_threshold
        self._read = pictures.read if pictures else read_image
        self._chosen: dict[Any, tuple[Path, dict[str, Any]]] = {}

    def reset(self) -> None:
        """Choose the images, at the first call only, and create the folder."""
        if self._chosen:
            return
        dicts = DatasetCatalog.get(self.dataset_name)
        count = min(self.num_images, len(dicts))
        spread = np.linspace(0, len(dicts) - 1, count).round().astype(int)
        for number, index in enumerate(spread):
            item = dicts[index]
            path = self.folder / f"{number:02d}_{Path(item['file_name']).stem}.png"
            self._chosen[item["image_id"]] = path, item
        self.folder.mkdir(parents=True, exist_ok=True)

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Draw the chosen images of a batch of B, except unreadable ones.

        Args:
            inputs: B dicts with "image_id".
            outputs: B dicts with "instances" (`Instances`) in pixels of the original image.
        """
        for sample, output in zip(inputs, outputs):
            if sample["image_id"] in self._chosen and "unreadable" not in sample:
                path, item = self._chosen[sample["image_id"]]
                instances = output["instances"].to("cpu")
                instances = instances[instances.scores >= self.score_threshold]
                Image.fromarray(self._side_by_side(item, instances)).save(path)

    def evaluate(self) -> dict:
        """Put all pictures on one sheet, on the main process; return no metrics."""
        comm.synchronize()
        drawn = [path for path, _ in self._chosen.values() if path.exists()]
        if comm.is_main_process() and drawn:
            overview(drawn).save(self.folder / "overview.png")
        return {}

    def _side_by_side(self, item: dict[str, Any], instances: Instances) -> np.ndarray:
        image = self._read(item["file_name"], format="RGB")
        height, width = image.shape[:2]
        # reduce a large image, as two of them must fit on a screen
        scale = min(enlargement(height, width), LONG_SIDE / max(height, width))
        image = resize_image(image, scale)
        truth = _ground_truth(item, (height, width))
        names = MetadataCatalog.get(self.dataset_name).get("thing_classes", None)
        pair = overlay(image, instances, names), overlay(image, truth, names)
        return side_by_side(*pair, (len(instances), len(truth)), self.score_threshold)


def _ground_truth(item: dict[str, Any], image_size: tuple[int, int]) -> Instances:
    """Convert the annotations of a dataset dict to `Instances` as predicted, without scores."""
    annotations = [dict(a) for a in item.get("annotations", []) if not a.get("iscrowd")]
    boxes = [{k: v for k, v in a.items() if k != "segmentation"} for a in annotations]
    truth = annotations_to_instances(boxes, image_size)
    result = Instances(image_size, pred_boxes=truth.gt_boxes, pred_classes=truth.gt_classes)
    if annotations and all(a.get("segmentation") for a in annotations):
        result.set("pred_masks", _Masks(annotations, image_size))
    return result


class _Masks:
    """Masks of annotations, rasterized one at a time: all of a large image may not fit."""

    def __init__(self, annotations: list[dict[str, Any]], image_size: tuple[int, int]) -> None:
        self._annotations, self._size = annotations, image_size

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, order: torch.Tensor) -> "_Masks":
        return _Masks([self._annotations[index] for index in order.tolist()], self._size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        for annotation in self._annotations:
            one = annotations_to_instances([annotation], self._size, mask_format="bitmask")
            yield one.gt_masks.tensor[0]
