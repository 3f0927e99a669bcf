"""COCO's average precision of boxes and masks."""

import contextlib
import io
import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools import mask as coco_mask
from tabulate import tabulate

from detectron2.data import MetadataCatalog
from detectron2.evaluation.evaluator import DatasetEvaluator
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

logger = logging.getLogger(__name__)

_TASKS = ("bbox", "segm")
_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class COCOEvaluator(DatasetEvaluator):
    """Average precision (0..100) of detections on a data set in COCO format.

    Args:
        dataset_name: registered by `register_coco_instances`.
        tasks: of "bbox" and "segm"; by default what the predictions hold.
        distributed: collect the predictions of all processes; only the main one has the results.
        output_dir: gets coco_instances_results.json (COCO's result format).
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
    ):
        unknown = set(tasks or ()) - set(_TASKS)
        assert not unknown, f"COCOEvaluator computes bbox and segm, not {', '.join(unknown)}."
        self._tasks, self._distributed, self._output_dir = tasks, distributed, output_dir
        self._metadata = MetadataCatalog.get(dataset_name)
        # faster-coco-eval gives the numbers of pycocotools.
        self._coco = COCO(PathManager.get_local_path(self._metadata.json_file))
        self.reset()

    def reset(self) -> None:
        self._predictions: list[dict[str, Any]] = []

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Take a batch: inputs with "image_id", outputs with "instances" in the original size."""
        for given, found in zip(inputs, outputs):
            instances = found["instances"].to("cpu")
            self._predictions.append(instances_to_coco_json(instances, given["image_id"]))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Compute, by task, AP, AP50, AP75, APs, APm, APl and "AP-<name>" of each class.

        NaN stands where no annotation counts, and where there is no prediction at all.
        """
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            predictions = sum(comm.gather(predictions, dst=0), [])
            if not comm.is_main_process():
                return {}
        if not predictions:
            logger.warning("COCOEvaluator has seen no predictions: the loader gave no batch.")
            return {}
        results = self._original_ids([result for image in predictions for result in image])
        if self._output_dir:
            PathManager.mkdirs(self._output_dir)
            path = os.path.join(self._output_dir, "coco_instances_results.json")
            with PathManager.open(path, "w") as file:
                json.dump(results, file)
            logger.info(f"Detections in COCO format: {path}")
        if "annotations" not in self._coco.dataset:
            logger.info("The annotation file has no annotations, so there are no metrics.")
            return {}
        has_masks = any("segmentation" in result for result in results)
        tasks = self._tasks or (_TASKS if has_masks else ("bbox",))
        return {task: self._evaluate_task(task, results) for task in tasks}

    def _original_ids(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The results with the category ids of the annotation file for the model's 0..N-1."""
        contiguous = self._metadata.thing_dataset_id_to_contiguous_id
        original = {number: category_id for category_id, number in contiguous.items()}
        strays = {result["category_id"] for result in results} - original.keys()
        assert not strays, (
            f"The model predicts class {min(strays)}, but dataset {self._metadata.name!r} has "
            f"{len(original)} classes: set num_classes to that."
        )
        return [{**result, "category_id": original[result["category_id"]]} for result in results]

    def _evaluate_task(self, task: str, results: list[dict[str, Any]]) -> dict[str, float]:
        if not results:
            logger.warning(f"{task}: the model detects nothing at all.")
            return dict.fromkeys(_METRICS, float("nan"))
        if task == "segm":
            # Without its box a result gets the area of its mask, by which COCO tells APs/APm/APl.
            results = [{k: v for k, v in result.items() if k != "bbox"} for result in results]
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            coco_eval = COCOeval_faster(self._coco, self._coco.loadRes(results), task)
            coco_eval.evaluate()
            coco_eval.accumulate()
        precision, recall = (np.asarray(coco_eval.eval[key]) for key in ("precision", "recall"))
        metrics = _average_precisions(precision, self._metadata.get("thing_classes") or ())
        limits = enumerate(coco_eval.params.maxDets)
        recalls = {f"AR{limit}": _mean(recall[:, :, 0, number]) for number, limit in limits}
        _log_metrics(task, metrics, recalls)
        return metrics


def _mean(values: np.ndarray) -> float:
    """The mean as a percentage, of what is defined: -1 marks classes without annotations."""
    values = values[values > -1]
    return float(np.mean(values) * 100) if values.size else float("nan")


def _average_precisions(precision: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """Average COCO's precision of shape (IoU .5:.95:.05, recall, class, area, max. detections)."""
    by_area = [precision[:, :, :, area, -1] for area in range(4)]  # all, small, medium, large
    everything = by_area[0]
    parts = everything, everything[0], everything[5], *by_area[1:]
    metrics = dict(zip(_METRICS, map(_mean, parts)))
    if len(class_names) > 1:
        for number, name in enumerate(class_names):
            metrics[f"AP-{name}"] = _mean(everything[:, :, number])
    return metrics


def _log_metrics(task: str, metrics: dict[str, float], recalls: dict[str, float]) -> None:
    head = {**{name: metrics[name] for name in _METRICS}, **recalls}
    table = tabulate([head.values()], list(head), tablefmt="pipe", floatfmt=".2f")
    logger.info(f"{task}, in percent (nan: nothing to measure):\n{table}")
    classes = [(name[3:], value) for name, value in metrics.items() if name.startswith("AP-")]
    if classes:
        # Three classes side by side keep the table short.
        rows = [sum(classes[i : i + 3], ()) for i in range(0, len(classes), 3)]
        head = ("class", "AP") * min(3, len(classes))
        table = tabulate(rows, head, tablefmt="pipe", floatfmt=".2f")
        logger.info(f"{task} AP by class:\n{table}")


def instances_to_coco_json(instances: Instances, img_id: int) -> list[dict[str, Any]]:
    """One image's detections in COCO's result format; pred_masks are (N, H, W) bool, if any."""
    if not len(instances):
        return []
    corners = instances.pred_boxes.tensor.numpy()
    columns = dict(
        category_id=instances.pred_classes.tolist(),
        bbox=BoxMode.convert(corners, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist(),
        score=instances.scores.tolist(),
    )
    if instances.has("pred_masks"):
        # (N, H, W) -> (H, W, N), column by column, as pycocotools wants it
        masks = np.asfortranarray(instances.pred_masks.numpy().transpose(1, 2, 0), dtype=np.uint8)
        columns["segmentation"] = [
            dict(size=rle["size"], counts=rle["counts"].decode()) for rle in coco_mask.encode(masks)
        ]
    return [dict(zip(("image_id", *columns), (img_id, *row))) for row in zip(*columns.values())]
