"""The evaluation loop, and COCO metrics against pycocotools."""

import contextlib
import copy
import io
import json
import logging

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import (
    COCOEvaluator,
    DatasetEvaluator,
    inference_context,
    inference_on_dataset,
    print_csv_format,
)
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import mvit_det

HEIGHT, WIDTH = 90, 110
IMAGES = (4, 1, 9, 6)
NAME = "test_coco_evaluation_only"


@pytest.fixture
def unregister():
    yield
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog.list():
            catalog.remove(NAME)


def noisy_mask(rng, box, filled=0.97):
    x, y, w, h = box
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[int(y) : int(y + h) + 1, int(x) : int(x + w) + 1] = True
    return mask & (rng.random(mask.shape) < filled)


def scene(seed, classes=3):
    """Make random annotations, a fifth of them crowds, and detections with tied scores."""
    rng = np.random.default_rng(seed)
    annotations, detections = [], {}
    for image_id in IMAGES:
        boxes = []
        for _ in range(rng.integers(0, 7)):
            box = np.concatenate([rng.random(2) * 50, rng.random(2) ** 2 * 50 + 1])
            rle = coco_mask.encode(np.asfortranarray(noisy_mask(rng, box), dtype=np.uint8))
            label = int(rng.integers(classes))
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=3 * label + 2,
                    bbox=box.tolist(),
                    area=float(coco_mask.area(rle)),
                    iscrowd=int(rng.random() < 0.2),
                    segmentation=dict(size=rle["size"], counts=rle["counts"].decode()),
                )
            )
            for _ in range(rng.integers(0, 3)):
                boxes.append((np.abs(box + rng.normal(size=4)), label, 0.97))
        # False positives with sparse masks: their sizes differ from those of the boxes.
        boxes += [(rng.random(4) * 60, int(rng.integers(classes)), 0.3) for _ in range(3)]
        detections[image_id] = make_instances(rng, boxes)
    return annotations, detections


def make_instances(rng, detections):
    boxes = np.array([box for box, *_ in detections])
    instances = Instances((HEIGHT, WIDTH))
    instances.pred_boxes = Boxes(torch.tensor(np.c_[boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]))
    instances.scores = torch.tensor(rng.random(len(detections)).round(1))
    instances.pred_classes = torch.tensor([label for _, label, _ in detections])
    instances.pred_masks = torch.tensor(
        np.array([noisy_mask(rng, box, filled) for box, _, filled in detections])
    )
    return instances


def write_coco(path, annotations, classes=3):
    coco = dict(
        images=[dict(id=i, file_name=f"{i}.png", height=HEIGHT, width=WIDTH) for i in IMAGES],
        annotations=annotations,
        categories=[dict(id=3 * i + 2, name=f"kind{i}") for i in range(classes)],
    )
    path.write_text(json.dumps(coco))
    return str(path)


def register(folder, annotations):
    path = write_coco(folder / "coco.json", annotations)
    register_coco_instances(NAME, {}, path, str(folder))
    DatasetCatalog.get(NAME)  # registers the classes
    return path


def evaluate(detections, evaluator=None, **options):
    evaluator = evaluator or COCOEvaluator(NAME, **options)
    evaluator.reset()
    for image_id, instances in detections.items():
        evaluator.process([dict(image_id=image_id)], [dict(instances=instances)])
    return evaluator.evaluate()


def by_pycocotools(path, detections, task):
    """Return precision (IoU, recall, class, area) in percent, with NaN for undefined values."""
    results = []
    for image_id, instances in detections.items():
        results += instances_to_coco_json(instances, image_id)
    for result in results:
        result["category_id"] = 3 * result["category_id"] + 2
        if task == "segm":
            del result["bbox"]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
        official = COCOeval(coco, coco.loadRes(results), task)
        official.evaluate()
        official.accumulate()
    precision = official.eval["precision"]
    defined = np.where(precision > -1, precision * 100, np.nan)
    return defined[:, :, :, :, -1]


def mean(values):
    return np.nanmean(values) if np.isfinite(values).any() else float("nan")


@pytest.mark.parametrize("seed", range(6))
def test_metrics_equal_those_of_pycocotools(tmp_path, unregister, seed):
    annotations, detections = scene(seed)
    path = register(tmp_path, annotations)
    results = evaluate(detections)
    assert list(results) == ["bbox", "segm"]
    for task, metrics in results.items():
        precision = by_pycocotools(path, detections, task)
        expected = dict(
            AP=mean(precision[..., 0]),
            AP50=mean(precision[0, ..., 0]),
            AP75=mean(precision[5, ..., 0]),
            APs=mean(precision[..., 1]),
            APm=mean(precision[..., 2]),
            APl=mean(precision[..., 3]),
        )
        expected.update({f"AP-kind{i}": mean(precision[:, :, i, 0]) for i in range(3)})
        assert dict(metrics) == pytest.approx(expected, abs=1e-12, rel=0, nan_ok=True)


def test_an_evaluator_can_be_used_repeatedly(tmp_path, unregister):
    annotations, first = scene(7)
    _, second = scene(8)
    register(tmp_path, annotations)
    evaluator = COCOEvaluator(NAME)
    repeated = [evaluate(detections, evaluator) for detections in (first, second, first)]
    for detections, results in zip((first, second, first), repeated):
        for task, metrics in evaluate(detections).items():
            assert dict(results[task]) == pytest.approx(dict(metrics), rel=0, nan_ok=True)
    assert repeated[0]["bbox"]["AP"] != repeated[1]["bbox"]["AP"]


def test_file_of_results(tmp_path, unregister):
    annotations, detections = scene(3)
    register(tmp_path, annotations)
    evaluate(detections, output_dir=str(tmp_path / "out"))
    results = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    assert len(results) == sum(map(len, detections.values()))
    first = detections[4]
    assert results[0]["image_id"] == 4
    assert results[0]["category_id"] == 3 * first.pred_classes[0].item() + 2
    x0, y0, x1, y1 = first.pred_boxes.tensor[0].tolist()
    assert results[0]["bbox"] == pytest.approx([x0, y0, x1 - x0, y1 - y0])
    np.testing.assert_array_equal(
        coco_mask.decode(results[0]["segmentation"]), first.pred_masks[0].numpy()
    )


def test_data_set_without_an_annotation_file(tmp_path, unregister):
    annotations, detections = scene(0)
    path = register(tmp_path, annotations)
    expected, records = evaluate(detections), DatasetCatalog.get(NAME)
    classes = {k: v for k, v in vars(MetadataCatalog.get(NAME)).items() if k.startswith("thing")}
    for catalog in (DatasetCatalog, MetadataCatalog):
        catalog.remove(NAME)
    DatasetCatalog.register(NAME, lambda: records)
    MetadataCatalog.get(NAME).set(**classes)
    with pytest.raises(ValueError, match="output_dir"):
        COCOEvaluator(NAME)
    results = evaluate(detections, output_dir=str(tmp_path / "out"))
    assert MetadataCatalog.get(NAME).json_file != path
    for task in results:
        assert dict(results[task]) == pytest.approx(dict(expected[task]), nan_ok=True, abs=0.1)


def test_evaluation_without_detections(tmp_path, unregister):
    annotations, _ = scene(4)
    register(tmp_path, annotations)
    empty = Instances((HEIGHT, WIDTH))
    empty.pred_boxes = Boxes(torch.zeros(0, 4))
    empty.scores = torch.zeros(0)
    empty.pred_classes = torch.zeros(0, dtype=torch.int64)
    results = evaluate({4: empty, 1: empty}, tasks=("bbox", "segm"))
    assert list(results) == ["bbox", "segm"] and np.isnan(results["segm"]["AP"])
    assert evaluate({}) == {}


def test_predictions_of_all_processes_are_evaluated(tmp_path, unregister, monkeypatch):
    annotations, detections = scene(5)
    register(tmp_path, annotations)
    expected = evaluate(detections)
    evaluators = []
    for part in ([4, 1], [9, 6]):
        evaluator = COCOEvaluator(NAME)
        evaluator.reset()
        for image_id in part:
            evaluator.process([dict(image_id=image_id)], [dict(instances=detections[image_id])])
        evaluators.append(evaluator)
    gathered = []
    monkeypatch.setattr(
        comm, "gather", lambda data, dst=0: gathered.append(copy.deepcopy(data)) or []
    )
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert evaluators[1].evaluate() == {}
    monkeypatch.setattr(comm, "gather", lambda data, dst=0: [data, *gathered])
    monkeypatch.setattr(comm, "is_main_process", lambda: True)
    results = evaluators[0].evaluate()
    for task in expected:
        assert dict(results[task]) == pytest.approx(dict(expected[task]), nan_ok=True)


def test_a_class_that_the_data_set_lacks_is_refused(tmp_path, unregister):
    annotations, detections = scene(6)
    register(tmp_path, annotations)
    detections[4].pred_classes[0] = 3
    with pytest.raises(AssertionError, match="class"):
        evaluate(detections)


# ---- the loop


class Doubler(torch.nn.Module):
    def forward(self, inputs):
        assert not self.training and not torch.is_grad_enabled()
        return [2 * value for value in inputs]


class Sum(DatasetEvaluator):
    def __init__(self, task="sum"):
        self.task = task

    def reset(self):
        self.total = 0

    def process(self, inputs, outputs):
        self.total += sum(inputs) + sum(outputs)

    def evaluate(self):
        return {self.task: {"all": self.total}}


def test_loop_runs_evaluators_and_restores_the_mode(caplog):
    model = Doubler().train()
    batches = [[1, 2], [3], [4, 5]] * 5
    with caplog.at_level(logging.INFO):
        assert inference_on_dataset(model, batches, Sum()) == {"sum": {"all": 5 * 45}}
    assert model.training
    assert "15 batches" in caplog.text
    both = inference_on_dataset(model.eval(), batches, [Sum("a"), Sum("b")])
    assert dict(both) == {"a": {"all": 225}, "b": {"all": 225}} and not model.training
    assert not inference_on_dataset(model, batches, None)
    assert inference_on_dataset(model, [], Sum()) == {"sum": {"all": 0}}
    with pytest.raises(AssertionError):
        inference_on_dataset(model, batches, [Sum(), Sum()])


@pytest.mark.skipif(mvit_det.host() == "real", reason="Detectron2 leaves the mode after an error")
def test_mode_is_restored_after_an_error():
    model = Doubler().train()
    with pytest.raises(RuntimeError), inference_context(model):
        assert not model.training
        raise RuntimeError
    assert model.training


def test_results_as_log_lines_and_as_a_flat_dict(caplog):
    results = {"bbox": {"AP": 12.34567, "AP50": 20.0, "AP-cat": 1.0}}
    with caplog.at_level(logging.INFO):
        print_csv_format(results)
    assert caplog.messages == [
        "copypaste: Task: bbox",
        "copypaste: AP,AP50",
        "copypaste: 12.3457,20.0000",
    ]
    assert flatten_results_dict(results) == {
        "bbox/AP": 12.34567,
        "bbox/AP50": 20.0,
        "bbox/AP-cat": 1.0,
    }
