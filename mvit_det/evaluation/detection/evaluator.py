"""COCO's metrics of a detector, as an evaluator for Detectron2's test loop."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from hotcoco import mask as coco_mask

from mvit_det.coco_files import distinct_names
from mvit_det.errors import UserError, shorten_list
from mvit_det.evaluation.detection.files import CocoTruth, Detections
from mvit_det.evaluation.detection.metrics import MAX_DETECTIONS
from mvit_det.evaluation.detection.report import report_detections
from mvit_det.evaluation.writing import log_write_errors, write_atomic

logger = logging.getLogger(__name__)


class CocoMetrics(DatasetEvaluator):
    """Evaluates boxes, and masks if the model predicts them, on a dataset in COCO format.

    It returns the metrics of `detectron2.evaluation.COCOEvaluator` under the same keys, plus AR, in
    a fraction of the time. The detections of all processes count; only the main process returns
    results. If the annotation file has no annotations, the detections are only written.

    Args:
        dataset_name: a registered dataset whose metadata have ``json_file``, the path of its
            annotations in COCO format.
        output_dir: gets ``coco_instances_results.json`` (COCO's result format),
            ``error_analysis.json`` (see `report_detections`), and in ``pictures/`` the
            precision-recall curves and the confusion matrix.
        max_detections: number of detections that count per image and class, best scores first, if
            it is more than the 100 that COCO counts.

    Raises:
        UserError: the dataset has no annotation file, or it cannot be used.
    """

    def __init__(
        self, dataset_name: str, output_dir: str | None = None, max_detections: int | None = None
    ) -> None:
        self._limit = max(MAX_DETECTIONS, max_detections or 0)
        metadata = MetadataCatalog.get(dataset_name)
        json_file = metadata.get("json_file", None)
        if not json_file:
            raise UserError(
                f"Dataset {dataset_name!r} has no COCO annotation file to evaluate against: "
                "register it with register_coco_instances, or set json_file in its metadata."
            )
        self._truth = CocoTruth(PathManager.get_local_path(json_file))
        self._output_dir = output_dir
        labels = metadata.get("thing_dataset_id_to_contiguous_id", None)
        labels = labels or {c: i for i, c in enumerate(self._truth.category_ids)}
        names = metadata.get("thing_classes", None)
        self._category_ids = {label: category_id for category_id, label in labels.items()}
        self._names = distinct_names(
            [
                dict(id=id_, name=names[labels[id_]] if names and id_ in labels else name)
                for id_, name in zip(self._truth.category_ids, self._truth.names)
            ]
        )
        self.reset()

    def reset(self) -> None:
        """Forget all detections."""
        self._images: list[dict[str, Any]] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Add a batch of B images.

        Args:
            inputs: B dicts with "image_id" of the annotation file.
            outputs: B dicts with "instances" (`Instances`): pred_boxes and optionally pred_masks in
                pixels of the original image, scores, and pred_classes.

        Raises:
            UserError: the annotation file does not have the image.
        """
        for item, output in zip(inputs, outputs):
            image_id, instances = item["image_id"], output["instances"].to("cpu")
            if image_id not in self._truth.image_index:
                raise UserError(
                    f"Image {image_id!r} is not in {self._truth.json_file}: evaluate on the images "
                    "of that file."
                )
            self._images.append(dict(image_id=image_id, **detection_columns(instances)))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return by task the 12 COCO metrics and "AP-<name>" of each class, in percent.

        A metric without objects is NaN; without detections AP is 0.

        Raises:
            UserError: the model predicts a class that the dataset does not have.
        """
        gathered = comm.gather(self._images, dst=0)
        if not comm.is_main_process():
            return {}
        images = list(chain.from_iterable(gathered))
        if not images:
            logger.warning("CocoMetrics received no predictions: the data loader is empty.")
            return {}
        self._check_labels(images)
        if self._output_dir is not None:
            self._save(images, Path(self._output_dir) / "coco_instances_results.json")
        if not self._truth.annotated:
            logger.info("%s has no annotations, so there are no metrics.", self._truth.json_file)
            return {}
        detections = self._detections(images)
        return report_detections(
            self._truth, detections, self._names, self._output_dir, self._limit
        )

    def _check_labels(self, images: list[dict[str, Any]]) -> None:
        unknown = {label for image in images for label in image["label"].tolist()}
        unknown -= self._category_ids.keys()
        if unknown:
            raise UserError(
                f"The model predicts class {shorten_list(sorted(unknown))}, but the dataset of "
                f"{self._truth.json_file} has {len(self._category_ids)} classes: set num_classes "
                "to that."
            )

    def _save(self, images: list[dict[str, Any]], path: Path) -> None:
        """Write the detections in COCO's result format, with the category ids of the file."""
        rows = [result_rows(image, image["image_id"], self._category_ids) for image in images]
        with log_write_errors("Detections in COCO format", path):
            write_atomic(path, json.dumps(list(chain.from_iterable(rows))))

    def _detections(self, images: list[dict[str, Any]]) -> Detections:
        box, score, label = (
            np.concatenate([image[key] for image in images]) for key in ("box", "score", "label")
        )
        has_masks = any("masks" in image for image in images)
        indices = [self._truth.image_index[image["image_id"]] for image in images]
        return Detections(
            np.repeat(indices, [len(image["score"]) for image in images]),
            np.array([self._truth.label[self._category_ids[k]] for k in label.tolist()], int),
            box,
            # hotcoco refuses NaN, which a diverged model may return: these detections rank last
            np.where(np.isnan(score), -np.inf, score),
            [mask for image in images for mask in image.get("masks", ())] if has_masks else None,
        )


def detection_columns(instances: Instances) -> dict[str, Any]:
    """Convert instances of one image to COCO's conventions.

    Args:
        instances: pred_boxes (N, 4) x1, y1, x2, y2 in pixels, pred_classes, scores, optionally
            pred_masks (N, H, W) bool; on the CPU.

    Returns:
        "box" (N, 4) float64: x, y, width, height in pixels; "label" (N,) int64; "score" (N,)
        float64; and with masks "masks": N compressed RLEs.
    """
    corners = instances.pred_boxes.tensor
    # subtract in the model's precision, as Detectron2 does
    box = corners.clone()
    box[:, 2:] -= corners[:, :2]
    columns = dict(
        box=box.double().numpy(),
        label=instances.pred_classes.numpy(),
        score=instances.scores.double().numpy(),
    )
    if instances.has("pred_masks"):
        # one by one: a second copy of all masks of a large image may not fit into memory
        columns["masks"] = [_encode_mask(mask.numpy()) for mask in instances.pred_masks]
    return columns


def _encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Encode a mask (H, W) as compressed RLE that JSON accepts."""
    rle = coco_mask.encode(np.asarray(mask, np.uint8))
    return dict(size=list(rle["size"]), counts=rle["counts"].decode())


def result_rows(
    detections: dict[str, Any], image_id: Any, category_ids: Mapping[int, Any] | Sequence[Any]
) -> Iterator[dict[str, Any]]:
    """Yield the detections of one image in COCO's result format.

    Args:
        detections: from `detection_columns`.
        image_id: of the annotation file.
        category_ids: of the annotation file, by class index.
    """
    columns = (detections[name].tolist() for name in ("label", "box", "score"))
    for index, (label, box, score) in enumerate(zip(*columns)):
        row = dict(image_id=image_id, category_id=category_ids[label], bbox=box, score=score)
        if "masks" in detections:
            row["segmentation"] = detections["masks"][index]
        yield row
