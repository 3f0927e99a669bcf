"""The evaluator: Detectron2's numbers under its keys, files, tables, pictures, two processes."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_scenes import HEIGHT, WIDTH, scene
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import launch
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from PIL import Image
from pycocotools import mask as coco_mask

from mvit_det.errors import UserError
from mvit_det.evaluation import CocoMetrics

NAME = "coco_metrics_test"
AVERAGES = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
RECALLS = ["AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


@pytest.fixture
def data(tmp_path):
    """(annotation file, results) of a scene with masks, registered."""
    truth, results = scene(100, images=8, masks=True)
    register(tmp_path, truth)
    yield truth, results
    forget()


def register(folder, truth):
    path = folder / "truth.json"
    path.write_text(json.dumps(truth))
    register_coco_instances(NAME, {}, str(path), str(folder))
    DatasetCatalog.get(NAME)  # fills in the classes


def forget():
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog.list():
            catalog.remove(NAME)


def outputs(truth, results, masks=True):
    """Results as the batches of a model: one (inputs, outputs) per image."""
    category_ids = sorted(c["id"] for c in truth["categories"])
    for image in truth["images"]:
        own = [r for r in results if r["image_id"] == image["id"]]
        boxes = torch.tensor([r["bbox"] for r in own]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        found = Instances((HEIGHT, WIDTH), pred_boxes=Boxes(boxes))
        found.scores = torch.tensor([r["score"] for r in own]).float()
        labels = [category_ids.index(r["category_id"]) for r in own]
        found.pred_classes = torch.tensor(labels, dtype=torch.int64)
        if masks:
            shapes = [coco_mask.decode(r["segmentation"]).astype(bool) for r in own]
            shapes = np.array(shapes, bool).reshape(-1, HEIGHT, WIDTH)
            found.pred_masks = torch.from_numpy(shapes)
        yield [dict(image_id=image["id"])], [dict(instances=found)]


def evaluate(evaluator, batches):
    evaluator.reset()
    for inputs, predictions in batches:
        evaluator.process(inputs, predictions)
    return evaluator.evaluate()


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("seed", [100, 103])
def test_numbers_and_files_are_those_of_detectron2(tmp_path, seed, masks):
    truth, results = scene(seed, images=8, masks=True)
    register(tmp_path, truth)
    try:
        batches = list(outputs(truth, results, masks))
        theirs = evaluate(COCOEvaluator(NAME, output_dir=str(tmp_path / "theirs")), batches)
        ours = evaluate(CocoMetrics(NAME, str(tmp_path / "ours")), batches)
    finally:
        forget()
    assert list(ours) == list(theirs) == (["bbox", "segm"] if masks else ["bbox"])
    for task, metrics in ours.items():
        expected = dict(theirs[task])
        assert [key for key in metrics if key not in RECALLS] == list(expected)
        assert list(metrics)[:12] == AVERAGES + RECALLS
        shared = {key: metrics[key] for key in expected}
        assert shared == pytest.approx(expected, abs=1e-10, rel=0, nan_ok=True)
    files = [tmp_path / who / "coco_instances_results.json" for who in ("ours", "theirs")]
    assert json.loads(files[0].read_text()) == json.loads(files[1].read_text())
    assert not list((tmp_path / "ours").glob("*.tmp"))


def found(results, where):
    """Box and score of the detections of an image."""
    own = [one for one in results if one["image_id"] == where["image_id"]]
    return [[one["bbox"], pytest.approx(one["score"])] for one in own]


def test_tables_and_pictures(data, tmp_path, caplog):
    truth, results = data
    with caplog.at_level(logging.INFO):
        metrics = evaluate(CocoMetrics(NAME, tmp_path / "out"), outputs(*data))
    for value in (metrics["bbox"]["AP"], metrics["segm"]["ARl"], metrics["segm"]["APs"]):
        assert f"{value:.2f}" in caplog.text
    for category in truth["categories"]:
        assert f"| {category['name']} " in caplog.text
    for name in ("precision_recall.png", "confusion.png"):
        with Image.open(tmp_path / "out" / "pictures" / name) as picture:
            pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
            assert min(picture.size) > 400
        coloured = np.ptp(pixels, axis=1) > 60
        assert coloured.mean() > 0.002, name
    assert "AP50 that each kind of error costs (TIDE):" in caplog.text
    analysis = json.loads((tmp_path / "out" / "error_analysis.json").read_text())
    assert f"| {analysis['ap50_lost']['FN']:.2f} |" in " ".join(caplog.text.split())
    suspects = analysis["contradictions"]
    assert f"Errors, and {len(suspects)} sure detections that contradict" in caplog.text
    assert all([one["bbox"], one["score"]] in found(results, one) for one in suspects)


def test_one_evaluator_serves_a_whole_training(data):
    truth, results = data
    evaluator = CocoMetrics(NAME)
    first = evaluate(evaluator, outputs(truth, results))
    second = evaluate(evaluator, outputs(truth, results[1::2]))
    again = evaluate(evaluator, outputs(truth, results))
    assert str(first) == str(again) != str(second)


def test_nothing_detected_has_the_same_keys(data, tmp_path, caplog):
    truth, results = data
    something = evaluate(CocoMetrics(NAME), outputs(truth, results))
    nothing = evaluate(CocoMetrics(NAME, tmp_path / "out"), outputs(truth, []))
    assert "detects nothing" in caplog.text
    assert {task: list(m) for task, m in nothing.items()} == {
        task: list(m) for task, m in something.items()
    }
    for task, metrics in something.items():
        for key, value in metrics.items():
            assert np.isnan(nothing[task][key]) if np.isnan(value) else nothing[task][key] == 0
    assert json.loads((tmp_path / "out" / "coco_instances_results.json").read_text()) == []
    assert evaluate(CocoMetrics(NAME), []) == {}


def test_scores_that_are_nan_rank_last(data):
    truth, results = data
    worst = [dict(one, score=-1.0) for one in results[::2]]
    unknown = [dict(one, score=np.nan) for one in results[::2]]
    expected, given = (
        evaluate(CocoMetrics(NAME), outputs(truth, [*some, *results[1::2]]))
        for some in (worst, unknown)
    )
    assert str(given) == str(expected)


def test_images_without_annotations_still_give_detections(tmp_path):
    truth, results = scene(100, images=8, masks=True)
    del truth["annotations"]
    path = tmp_path / "images.json"
    path.write_text(json.dumps(truth))
    MetadataCatalog.get(NAME).set(json_file=str(path))
    try:
        assert evaluate(CocoMetrics(NAME, tmp_path), outputs(truth, results)) == {}
    finally:
        forget()
    saved = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert len(saved) == len(results)
    assert {r["category_id"] for r in saved} == {r["category_id"] for r in results}


def test_faults_end_in_one_sentence(data, tmp_path):
    with pytest.raises(UserError, match="coco_metrics_absent.*no COCO annotation file"):
        CocoMetrics("coco_metrics_absent")
    MetadataCatalog.remove("coco_metrics_absent")
    batches = list(outputs(*data))
    batches[0][0][0]["image_id"] = 77
    with pytest.raises(UserError, match="Image 77 is not in"):
        evaluate(CocoMetrics(NAME), batches)
    batches = list(outputs(*data))
    next(o for _, (o,) in batches if len(o["instances"]))["instances"].pred_classes[0] = 4
    with pytest.raises(UserError, match="predicts class 4, but .* has 4 classes"):
        evaluate(CocoMetrics(NAME), batches)


def test_an_unwritable_folder_costs_files_not_metrics(data, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    batches = list(outputs(*data))
    metrics = evaluate(CocoMetrics(NAME, tmp_path / "file" / "out"), batches)
    assert str(metrics) == str(evaluate(CocoMetrics(NAME), batches))
    assert "coco_instances_results.json cannot be written" in caplog.text
    assert "pictures" in caplog.text and "could not be written" in caplog.text


def _one_of_two(folder):
    truth = json.loads(Path(folder, "truth.json").read_text())
    results = json.loads(Path(folder, "results.json").read_text())
    register_coco_instances(NAME, {}, str(Path(folder, "truth.json")), folder)
    DatasetCatalog.get(NAME)
    batches = list(outputs(truth, results))
    rank = comm.get_rank()
    own = batches[:3] if rank == 0 else batches[3:]
    metrics = evaluate(CocoMetrics(NAME, str(Path(folder, "two"))), own)
    Path(folder, f"{rank}.txt").write_text(repr(metrics))
    comm.synchronize()
    os._exit(0)  # at the interpreter's exit gloo's threads may abort the process


@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="needs two GPUs, or none")
def test_two_processes_equal_one(data, tmp_path):
    truth, results = data
    (tmp_path / "results.json").write_text(json.dumps(results))
    alone = evaluate(CocoMetrics(NAME, str(tmp_path / "one")), outputs(truth, results))
    launch(_one_of_two, 2, dist_url="auto", args=(str(tmp_path),))
    assert (tmp_path / "0.txt").read_text() == repr(alone)
    assert (tmp_path / "1.txt").read_text() == "{}"
    one, two = (tmp_path / run / "coco_instances_results.json" for run in ("one", "two"))
    assert one.read_text() == two.read_text()
