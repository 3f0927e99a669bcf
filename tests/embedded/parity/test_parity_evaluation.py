"""The embedded host computes COCO metrics exactly as the real Detectron2."""

import pytest
from hosts import both_hosts
from test_coco_evaluation import scene, write_coco

EVALUATION = """
import numpy as np, torch
from detectron2.data import DatasetCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Boxes, Instances

result = {}
for key, (path, outputs) in cases.items():
    name = "parity_eval_" + key
    register_coco_instances(name, {}, path, "")
    DatasetCatalog.get(name)
    for variant, arguments in variants.items():
        evaluator = COCOEvaluator(name, **arguments)
        evaluator.reset()
        for image_id, fields in outputs.items():
            instances = Instances((90, 110))
            for field, value in fields.items():
                instances.set(field, Boxes(value) if field == "pred_boxes" else value)
            evaluator.process([dict(image_id=image_id)], [dict(instances=instances)])
            result[key, "json", image_id] = instances_to_coco_json(instances, image_id)
        results = evaluator.evaluate()
        result[key, variant] = {task: dict(metrics) for task, metrics in results.items()}
"""


def make_case(path, seed, masks=True, classes=3, empty=False):
    """Make a COCO file with masks and crowds, and fields of detections with tied scores."""
    annotations, detections = scene(seed, classes)
    outputs = {}
    for image_id, instances in detections.items():
        fields = (instances[:0] if empty else instances).get_fields()
        fields = dict(fields, pred_boxes=fields["pred_boxes"].tensor.float())
        fields["scores"] = fields["scores"].float()
        outputs[image_id] = {k: v for k, v in fields.items() if masks or k != "pred_masks"}
    return write_coco(path, annotations, classes=classes), outputs


def test_coco_metrics_are_equal(tmp_path):
    cases = {
        "random0": make_case(tmp_path / "0.json", 0),
        "random1": make_case(tmp_path / "1.json", 1),
        "boxes": make_case(tmp_path / "boxes.json", 9, masks=False),
        "one_class": make_case(tmp_path / "one.json", 10, classes=1),
        "empty": make_case(tmp_path / "empty.json", 11, empty=True),
    }
    variants = {
        "default": {},
        "local": dict(distributed=False),
        "tasks": dict(tasks=("bbox",), max_dets_per_image=3),
    }
    real, ours = both_hosts(EVALUATION, cases=cases, variants=variants)
    assert real.keys() == ours.keys()
    for key, expected in real.items():
        if "json" in key:
            assert ours[key] == expected, key
            continue
        assert {t: set(m) for t, m in ours[key].items()} == {t: set(m) for t, m in expected.items()}
        for task, metrics in expected.items():
            for metric, value in metrics.items():
                result = ours[key][task][metric]
                assert result == pytest.approx(value, abs=1e-10, nan_ok=True), (key, task, metric)
    assert real["random0", "default"]["segm"]["AP"] > 5  # some detections are correct
