"""Average precision of boxes and masks, as COCO defines it."""

import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from hotcoco import COCO, COCOeval
from pycocotools import mask as coco_mask
from tabulate import tabulate

from detectron2.data import MetadataCatalog
from detectron2.data.datasets.coco import convert_to_coco_json
from detectron2.evaluation.evaluator import DatasetEvaluator
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

logger = logging.getLogger(__name__)

_TASKS = ("bbox", "segm")
_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class COCOEvaluator(DatasetEvaluator):
    """Measure the average precision (0..100) of detections by the rules of COCO.

    Args:
        dataset_name: a registered data set. Without a ``json_file`` in its metadata it is written
            into ``output_dir`` in COCO format.
        tasks: "bbox", "segm" or both; by default those that the predictions contain.
        distributed: collect the predictions of all processes; only the main one has the results.
        output_dir: the folder for coco_instances_results.json (COCO's result format).
        max_dets_per_image: how many detections of an image count, 10 at least; 100 by default.
        allow_cached_coco: use the file of an earlier conversion of the data set.

    Raises:
        AssertionError: unknown tasks.
        ValueError: neither a ``json_file`` nor an ``output_dir``.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        max_dets_per_image: int | None = None,
        allow_cached_coco: bool = True,
    ):
        unknown = set(tasks or ()) - set(_TASKS)
        assert not unknown, f"COCOEvaluator computes bbox and segm, not {', '.join(unknown)}."
        self._tasks, self._distributed, self._output_dir = tasks, distributed, output_dir
        self._max_dets = sorted((1, 10, max_dets_per_image or 100))
        self._metadata = MetadataCatalog.get(dataset_name)
        if self._metadata.get("json_file") is None:
            if output_dir is None:
                raise ValueError(f"{dataset_name!r} has no json_file: set output_dir to write one.")
            path = os.path.join(output_dir, f"{dataset_name}_coco_format.json")
            convert_to_coco_json(dataset_name, path, allow_cached_coco)
            self._metadata.json_file = path
        with PathManager.open(self._metadata.json_file, "rb") as file:
            truth = json.load(file)
        self._coco, self._has_truth = COCO(truth), "annotations" in truth
        self.reset()

    def reset(self) -> None:
        """Discard all predictions."""
        self._predictions: list[list[dict[str, Any]]] = []  # by image

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Add a batch: inputs with "image_id", outputs with "instances" in the original size."""
        for image, output in zip(inputs, outputs):
            instances = output["instances"].to("cpu")
            self._predictions.append(instances_to_coco_json(instances, image["image_id"]))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return, by task, AP, AP50, AP75, APs, APm, APl and "AP-<name>" of each class, in percent.

        A metric is NaN without annotations to measure, or without predictions.

        Raises:
            AssertionError: a predicted class is not a class of the data set.
        """
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            predictions = sum(comm.gather(predictions, dst=0), [])
            if not comm.is_main_process():
                return {}
        if not predictions:
            logger.warning("COCOEvaluator got no predictions: the loader returned no batch.")
            return {}
        results = self._to_category_ids([result for image in predictions for result in image])
        if self._output_dir:
            PathManager.mkdirs(self._output_dir)
            path = os.path.join(self._output_dir, "coco_instances_results.json")
            with PathManager.open(path, "w", encoding="utf-8") as file:
                json.dump(results, file)
            logger.info(f"Detections in COCO format: {path}")
        if not self._has_truth:
            logger.info("The annotation file has no annotations, so there are no metrics.")
            return {}
        has_masks = any("segmentation" in result for result in results)
        tasks = self._tasks or (_TASKS if has_masks else ("bbox",))
        return {task: self._evaluate_task(task, results) for task in tasks}

    def _to_category_ids(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Replace the classes 0..N-1 of the model by the category ids of the annotation file."""
        contiguous = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if contiguous is None:
            return results
        original = {label: category_id for category_id, label in contiguous.items()}
        unknown = {result["category_id"] for result in results} - original.keys()
        assert not unknown, (
            f"The model predicts class {min(unknown)}, but dataset {self._metadata.name!r} has "
            f"{len(original)} classes: set num_classes to that."
        )
        return [{**result, "category_id": original[result["category_id"]]} for result in results]

    def _evaluate_task(self, task: str, results: list[dict[str, Any]]) -> dict[str, float]:
        if not results:
            logger.warning(f"{task}: the model detects nothing.")
            return dict.fromkeys(_METRICS, float("nan"))
        if task == "segm":
            # Without a box, the area is that of the mask, which COCO uses for APs/APm/APl.
            results = [{k: v for k, v in result.items() if k != "bbox"} for result in results]
        evaluation = COCOeval(self._coco, self._coco.load_res(results), task)
        evaluation.params.max_dets = self._max_dets
        evaluation.evaluate()
        evaluation.accumulate()
        # (IoU .5:.95:.05, recall, class, area, limit); -1 marks classes without annotations
        precision = np.asarray(evaluation.eval["precision"])[..., -1]  # type: ignore[index]
        overall, small, medium, large = np.moveaxis(precision, -1, 0)
        parts = (overall, overall[0], overall[5], small, medium, large)
        metrics = dict(zip(_METRICS, map(_mean, parts)))
        names = self._metadata.get("thing_classes") or ()
        if len(names) > 1:
            metrics |= {f"AP-{name}": _mean(overall[:, :, i]) for i, name in enumerate(names)}
        table = tabulate(metrics.items(), ("metric", "percent"), "pipe", floatfmt=".2f")
        logger.info(f"{task} (nan: no annotation to measure):\n{table}")
        return metrics


def _mean(values: np.ndarray) -> float:
    """Return the mean of the values that are defined (not -1), in percent."""
    values = values[values > -1]
    return float(np.mean(values) * 100) if values.size else float("nan")


def instances_to_coco_json(instances: Instances, img_id: int) -> list[dict[str, Any]]:
    """Return the detections of an image in COCO's result format.

    ``instances`` have pred_boxes, scores, pred_classes and perhaps pred_masks, (N, H, W) bool.
    """
    if not len(instances):
        return []
    corners = instances.pred_boxes.tensor.numpy()
    columns = dict(
        category_id=instances.pred_classes.tolist(),
        bbox=BoxMode.convert(corners, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist(),
        score=instances.scores.tolist(),
    )
    if instances.has("pred_masks"):
        # one by one: all masks of a large image may not fit into memory
        rles = [
            coco_mask.encode(np.asfortranarray(mask.numpy(), dtype=np.uint8))
            for mask in instances.pred_masks
        ]
        columns["segmentation"] = [dict(rle, counts=rle["counts"].decode()) for rle in rles]
    return [dict(zip(("image_id", *columns), (img_id, *row))) for row in zip(*columns.values())]
