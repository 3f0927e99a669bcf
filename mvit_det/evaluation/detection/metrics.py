"""COCO's average precision and recall, computed by hotcoco: equal to pycocotools, but faster.

Definition: https://cocodataset.org/#detection-eval. Legend: T IoU thresholds, R points of recall,
K classes.
"""

from collections import defaultdict
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from warnings import catch_warnings, simplefilter

import numpy as np
from hotcoco import COCOeval, StreamingEval
from hotcoco.detection import Params

from mvit_det.evaluation.detection.files import CocoTruth, Detections

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# number of images whose masks are converted at a time, to limit the memory
_IMAGES_AT_ONCE = 200


@dataclass(frozen=True)
class CocoScores:
    """The metrics of one task.

    Attributes:
        summary: the 12 metrics of COCO's table in percent; NaN if there is nothing to evaluate.
        curves: precision (T, R, K) from 0 to 1, 0 if the recall is not reached; NaN for classes
            without objects.
        errors: for boxes, the AP50 in percent that each kind of error costs, by the names of TIDE
            (https://arxiv.org/abs/2008.08115); empty for masks.
    """

    summary: dict[str, float]
    curves: np.ndarray
    errors: dict[str, float] = field(default_factory=dict)

    def by_class(self) -> list[float]:
        """Return the AP of each of the K classes in percent; NaN for a class without objects."""
        return (self.curves.mean(axis=(0, 1)) * 100).tolist()


def metric_names(max_detections: int) -> list[str]:
    """Return the names of the 12 metrics; the limit is part of one, as in "AR300"."""
    return [f"AR{max_detections}" if name == "AR100" else name for name in METRICS]


def compute_coco_scores(
    truth: CocoTruth, detections: Detections, task: str, max_detections: int = MAX_DETECTIONS
) -> CocoScores:
    """Compute COCO's metrics of one task.

    Args:
        truth: the annotation file.
        detections: detections; for "segm" with masks.
        task: "bbox" or "segm".
        max_detections: number of detections that count per image and class, best scores first; 100
            or more.
    """
    evaluate = _evaluate_boxes if task == "bbox" else _evaluate_masks
    evaluation = evaluate(truth, detections, [1, 10, max_detections])
    evaluation.accumulate()
    # it also prints a table, and warns of another limit than COCO's
    with redirect_stdout(StringIO()), catch_warnings():
        simplefilter("ignore")
        evaluation.summarize()
    stats, results = np.asarray(evaluation.stats), evaluation.eval
    assert results is not None  # since `accumulate`
    curves = results["precision"][..., 0, -1]  # all areas, largest number of detections
    summary = dict(
        zip(metric_names(max_detections), np.where(stats < 0, np.nan, stats * 100).tolist())
    )
    lost = evaluation.tide_errors()["delta_ap"] if task == "bbox" else {}
    errors = {kind: 100 * ap for kind, ap in lost.items()}
    return CocoScores(summary, np.where(curves < 0, np.nan, curves), errors)


def _evaluate_boxes(truth: CocoTruth, detections: Detections, max_dets: list[int]) -> COCOeval:
    objects = truth.coco(truth.objects)
    evaluation = COCOeval(objects, objects.load_res(detections.table()), "bbox")
    evaluation.params.max_dets = max_dets
    evaluation.evaluate()
    return evaluation


def _evaluate_masks(truth: CocoTruth, detections: Detections, max_dets: list[int]) -> COCOeval:
    """Match image by image: all masks at once would be in memory twice."""
    assert detections.masks is not None
    objects, rows = defaultdict(list), defaultdict(list)
    for item in truth.with_masks():
        objects[item["image_id"]].append(item)
    for row, image in enumerate(detections.image.tolist()):
        rows[image].append(row)
    params = Params("segm")
    params.max_dets = max_dets
    stream = StreamingEval(truth.categories, "segm", params=params)
    for start in range(0, len(truth.images), _IMAGES_AT_ONCE):
        images = truth.images[start : start + _IMAGES_AT_ONCE]
        # without boxes, so that the area is that of the mask
        results = [
            dict(
                image_id=image["id"],
                category_id=int(detections.label[row]),
                score=float(detections.score[row]),
                segmentation=detections.masks[row],
            )
            for image in images
            for row in rows[image["id"]]
        ]
        stream.update(images, [a for image in images for a in objects[image["id"]]], results)
    return stream.finalize()
