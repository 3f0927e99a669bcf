"""`CocoMetrics`: Detectron2's metrics under its keys, files, tables, pictures, two processes."""

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
from evaluation_runs import evaluate, evaluate_on_two
from PIL import Image
from pycocotools import mask as coco_mask

from mvit_det.errors import UserError
from mvit_det.evaluation import CocoMetrics

NAME = "coco_metrics_test"
AVERAGES = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
RECALLS = ["AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


@pytest.fixture
def data(tmp_path):
    """Register a scene with masks; return its annotations and results."""
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
    """Convert results to the batches of a model: (inputs, outputs) of one image each."""
    category_ids = sorted(c["id"] for c in truth["categories"])
    for image in truth["images"]:
        rows = [r for r in results if r["image_id"] == image["id"]]
        boxes = torch.tensor([r["bbox"] for r in rows]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        found = Instances((HEIGHT, WIDTH), pred_boxes=Boxes(boxes))
        found.scores = torch.tensor([r["score"] for r in rows]).float()
        labels = [category_ids.index(r["category_id"]) for r in rows]
        found.pred_classes = torch.tensor(labels, dtype=torch.int64)
        if masks:
            shapes = [coco_mask.decode(r["segmentation"]).astype(bool) for r in rows]
            shapes = np.array(shapes, bool).reshape(-1, HEIGHT, WIDTH)
            found.pred_masks = torch.from_numpy(shapes)
        yield [dict(image_id=image["id"])], [dict(instances=found)]


@pytest.mark.parametrize("seed, masks", [(100, True), (103, False)])
@pytest.mark.usefixtures("no_plots")
def test_metrics_and_files_equal_those_of_detectron2(tmp_path, seed, masks):
    truth, results = scene(seed, images=8, masks=True)
    register(tmp_path, truth)
    try:
        batches = list(outputs(truth, results, masks))
        expected = evaluate(COCOEvaluator(NAME, output_dir=str(tmp_path / "detectron2")), batches)
        results = evaluate(CocoMetrics(NAME, str(tmp_path / "mvit_det")), batches)
    finally:
        forget()
    assert list(results) == list(expected) == (["bbox", "segm"] if masks else ["bbox"])
    for task, metrics in results.items():
        values = dict(expected[task])
        assert [key for key in metrics if key not in RECALLS] == list(values)
        assert list(metrics)[:12] == AVERAGES + RECALLS
        shared = {key: metrics[key] for key in values}
        assert shared == pytest.approx(values, abs=1e-10, rel=0, nan_ok=True)
    files = [tmp_path / who / "coco_instances_results.json" for who in ("mvit_det", "detectron2")]
    assert json.loads(files[0].read_text()) == json.loads(files[1].read_text())


def boxes_and_scores(results, image_id):
    """Return box and score of the detections of an image."""
    rows = [row for row in results if row["image_id"] == image_id]
    return [[row["bbox"], pytest.approx(row["score"])] for row in rows]


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
        saturated = np.ptp(pixels, axis=1) > 60
        assert saturated.mean() > 0.002, name
    assert "AP50 that each kind of error costs (TIDE):" in caplog.text
    analysis = json.loads((tmp_path / "out" / "error_analysis.json").read_text())
    assert f"| {analysis['ap50_lost']['FN']:.2f} |" in " ".join(caplog.text.split())
    contradictions = analysis["contradictions"]
    assert len(contradictions) == 4
    assert "Errors, and 4 detections that contradict" in caplog.text
    for row in contradictions:
        assert [row["bbox"], row["score"]] in boxes_and_scores(results, row["image_id"])


def test_reset_forgets_all_detections(data):
    truth, results = data
    evaluator = CocoMetrics(NAME)
    first = evaluate(evaluator, outputs(truth, results))
    second = evaluate(evaluator, outputs(truth, results[1::2]))
    again = evaluate(evaluator, outputs(truth, results))
    assert str(first) == str(again) != str(second)


@pytest.mark.usefixtures("no_plots")
def test_metrics_without_detections_have_the_same_keys(data, tmp_path, caplog):
    truth, results = data
    expected = evaluate(CocoMetrics(NAME), outputs(truth, results))
    empty = evaluate(CocoMetrics(NAME, tmp_path / "out"), outputs(truth, []))
    assert "There are no detections at all" in caplog.text
    assert {task: list(m) for task, m in empty.items()} == {
        task: list(m) for task, m in expected.items()
    }
    for task, metrics in expected.items():
        for key, value in metrics.items():
            assert np.isnan(empty[task][key]) if np.isnan(value) else empty[task][key] == 0
    assert json.loads((tmp_path / "out" / "coco_instances_results.json").read_text()) == []
    assert evaluate(CocoMetrics(NAME), []) == {}


def test_scores_that_are_nan_rank_last(data):
    truth, results = data
    negative = [dict(row, score=-1.0) for row in results[::2]]
    unknown = [dict(row, score=np.nan) for row in results[::2]]
    expected, metrics = (
        evaluate(CocoMetrics(NAME), outputs(truth, [*rows, *results[1::2]]))
        for rows in (negative, unknown)
    )
    assert str(metrics) == str(expected)


def test_detections_are_saved_without_annotations(tmp_path):
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


def test_errors(data):
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


def test_metrics_are_returned_if_files_cannot_be_written(data, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    batches = list(outputs(*data))
    metrics = evaluate(CocoMetrics(NAME, tmp_path / "file" / "out"), batches)
    assert str(metrics) == str(evaluate(CocoMetrics(NAME), batches))
    assert "coco_instances_results.json cannot be written" in caplog.text
    assert "pictures" in caplog.text and "could not be written" in caplog.text


def _evaluate_part(folder):
    truth = json.loads(Path(folder, "truth.json").read_text())
    results = json.loads(Path(folder, "results.json").read_text())
    register_coco_instances(NAME, {}, str(Path(folder, "truth.json")), folder)
    DatasetCatalog.get(NAME)
    batches = list(outputs(truth, results))
    rank = comm.get_rank()
    part = batches[:3] if rank == 0 else batches[3:]
    metrics = evaluate(CocoMetrics(NAME, str(Path(folder, "two"))), part)
    Path(folder, f"{rank}.txt").write_text(repr(metrics))
    comm.synchronize()
    os._exit(0)  # at the interpreter's exit gloo's threads may abort the process


@pytest.mark.usefixtures("no_plots")
def test_two_processes_equal_one(data, tmp_path):
    batches = list(outputs(*data))
    alone = evaluate(CocoMetrics(NAME, str(tmp_path / "one")), batches)
    two = str(tmp_path / "two")
    results = evaluate_on_two(lambda: CocoMetrics(NAME, two), batches[:3], batches[3:])
    assert repr(results) == repr([alone, {}])
    first, second = (tmp_path / run / "coco_instances_results.json" for run in ("one", "two"))
    assert first.read_text() == second.read_text()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="needs two GPUs, or none")
def test_two_real_processes_equal_one(data, tmp_path):
    truth, results = data
    (tmp_path / "results.json").write_text(json.dumps(results))
    alone = evaluate(CocoMetrics(NAME, str(tmp_path / "one")), outputs(truth, results))
    launch(_evaluate_part, 2, dist_url="auto", args=(str(tmp_path),))
    assert (tmp_path / "0.txt").read_text() == repr(alone)
    assert (tmp_path / "1.txt").read_text() == "{}"
    one, two = (tmp_path / run / "coco_instances_results.json" for run in ("one", "two"))
    assert one.read_text() == two.read_text()
