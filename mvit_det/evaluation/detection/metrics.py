"""COCO's average precision and recall, by hotcoco: the metrics of pycocotools, faster.

Defined at https://cocodataset.org/#detection-eval. Letters: T IoU thresholds, R points of recall,
K classes.
"""

from collections import defaultdict
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

import numpy as np
from hotcoco import COCOeval, StreamingEval

from mvit_det.evaluation.detection.files import CocoTruth, Detections

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# number of images whose masks are converted at a time, to limit the memory
_IMAGES_AT_ONCE = 200


@dataclass(frozen=True)
class CocoScores:
    """The metrics of one task.

    Attributes:
        summary: the 12 metrics of COCO's table in percent; NaN if there is nothing to measure.
        curves: precision (T, R, K), 0 if the recall is not reached; NaN for classes without
            objects.
        errors: for boxes, the AP50 in percent that each kind of error costs, by TIDE's names
            (https://arxiv.org/abs/2008.08115).
    """

    summary: dict[str, float]
    curves: np.ndarray
    errors: dict[str, float] | None = None

    def by_class(self) -> list[float]:
        """Return the AP of each class in percent; NaN for a class without objects."""
        return (self.curves.mean(axis=(0, 1)) * 100).tolist()


def measure(truth: CocoTruth, found: Detections, task: str) -> CocoScores:
    """Compute the metrics of a task, "bbox" or "segm"."""
    evaluation = _of_boxes(truth, found) if task == "bbox" else _of_masks(truth, found)
    evaluation.accumulate()
    with redirect_stdout(StringIO()):  # it also prints a table
        evaluation.summarize()
    numbers = np.where(evaluation.stats < 0, np.nan, evaluation.stats * 100)
    curves = evaluation.eval["precision"][..., 0, -1]  # all areas, 100 detections
    errors = None
    if task == "bbox":
        errors = {kind: 100 * ap for kind, ap in evaluation.tide_errors()["delta_ap"].items()}
    return CocoScores(
        dict(zip(METRICS, numbers.tolist())), np.where(curves < 0, np.nan, curves), errors
    )


def _of_boxes(truth: CocoTruth, found: Detections) -> COCOeval:
    objects = truth.coco(truth.objects)
    evaluation = COCOeval(objects, objects.load_res(found.table()), "bbox")
    evaluation.evaluate()
    return evaluation


def _of_masks(truth: CocoTruth, found: Detections) -> COCOeval:
    """Match image by image: all masks at once would be in memory twice."""
    objects, rows = defaultdict(list), defaultdict(list)
    for one in truth.with_masks():
        objects[one["image_id"]].append(one)
    for row, image in enumerate(found.image.tolist()):
        rows[image].append(row)
    stream = StreamingEval(truth.categories, "segm")
    for start in range(0, len(truth.images), _IMAGES_AT_ONCE):
        images = truth.images[start : start + _IMAGES_AT_ONCE]
        # without boxes, so that the area is that of the mask
        detections = [
            dict(
                image_id=image["id"],
                category_id=int(found.label[row]),
                score=float(found.score[row]),
                segmentation=found.masks[row],
            )
            for image in images
            for row in rows[image["id"]]
        ]
        stream.update(images, [one for image in images for one in objects[image["id"]]], detections)
    return stream.finalize()
