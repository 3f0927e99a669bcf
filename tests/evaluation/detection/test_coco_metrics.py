"""COCO's metrics: equal to pycocotools on random scenes, and to sums by hand."""

import json

import numpy as np
import pytest
from coco_scenes import by_pycocotools, disc, scene

from mvit_det.evaluation.detection import metrics
from mvit_det.evaluation.detection.files import CocoTruth, parse_results
from mvit_det.evaluation.detection.metrics import METRICS, compute_coco_scores


@pytest.fixture
def evaluate(tmp_path):
    """Return a function of annotations and results in COCO's format."""

    def run(truth, results, task="bbox"):
        path = tmp_path / "truth.json"
        path.write_text(json.dumps(truth))
        truth = CocoTruth(path)
        # a file without results is an error, so the model without detections returns an empty box
        row = dict(image_id=truth.image_ids[0], category_id=truth.category_ids[0], score=0)
        results = results or [dict(row, bbox=[0, 0, 0, 0], segmentation=disc([0, 0, 0, 0]))]
        return compute_coco_scores(truth, parse_results(results, truth, "results"), task)

    return run


def assert_equal(scores, official):
    curves = official.eval["precision"][..., 0, -1]
    curves = np.where(curves < 0, np.nan, curves)
    np.testing.assert_allclose(scores.curves, curves, atol=1e-10, rtol=0)
    expected = np.where(official.stats < 0, np.nan, official.stats * 100)
    assert tuple(scores.summary) == METRICS
    np.testing.assert_allclose(list(scores.summary.values()), expected, atol=1e-10, rtol=0)


def renamed(entries, key, form):
    return [{**entry, key: form(entry[key])} for entry in entries]


# 9, 19, 46 and 54 have no results, which pycocotools refuses
@pytest.mark.parametrize("seed", sorted({*range(60)} - {9, 19, 46, 54}))
def test_boxes_equal_pycocotools(evaluate, seed):
    options = dict(images=1 + seed % 9, classes=2 + seed % 4, crowds=(0.15, 0, 0.6)[seed % 3])
    truth, results = scene(seed, **options)
    official = by_pycocotools(truth, results, "bbox")
    # ids may be numbers or strings
    form = (int, "{:03d}".format, lambda number: number + 0.5)[seed % 3]
    truth["images"] = renamed(truth["images"], "id", form)
    truth["categories"] = renamed(truth["categories"], "id", form)
    for key in ("image_id", "category_id"):
        truth["annotations"] = renamed(truth["annotations"], key, form)
        results = renamed(results, key, form)
    assert_equal(evaluate(truth, results), official)


@pytest.mark.parametrize("seed", range(100, 112))
def test_masks_equal_pycocotools(evaluate, monkeypatch, seed):
    monkeypatch.setattr(metrics, "_IMAGES_AT_ONCE", 1 + seed % 4)
    truth, results = scene(seed, masks=True)
    for annotation in truth["annotations"][::2]:
        x, y, w, h = annotation["bbox"]
        if not annotation["iscrowd"]:
            polygon = [x + w / 2, y, x + w, y + h / 3, x + w / 2, y + h, x, y + h / 3]
            annotation["segmentation"] = [polygon, [x, y, x + w / 3, y, x, y + h / 3]]
    assert_equal(evaluate(truth, results, "segm"), by_pycocotools(truth, results, "segm"))


def test_the_scenes_contain_the_hard_cases():
    """Without them the comparisons above would prove little."""
    crowds = edges = flat = ties = many = unused = empty = 0
    for seed in range(60):
        truth, results = scene(seed, images=1 + seed % 9, classes=2 + seed % 4)
        annotations = truth["annotations"]
        crowds += sum(a["iscrowd"] for a in annotations)
        edges += sum(a["area"] in (32**2, 96**2) for a in annotations)
        flat += sum(a["area"] == 0 for a in annotations)
        keys = [(r["image_id"], r["category_id"]) for r in results]
        many += any(keys.count(key) > 100 for key in set(keys))
        ties += len(results) - len({r["score"] for r in results})
        unused += len(truth["categories"]) - len({a["category_id"] for a in annotations})
        empty += len(truth["images"]) - len({r["image_id"] for r in results})
    assert min(crowds, edges, flat, ties, many, unused, empty) > 20


def box_file(boxes):
    """Return annotations without ids, areas and iscrowd, which a file may lack."""
    annotations = [dict(image_id=1, category_id=1, bbox=box) for box in boxes]
    categories = [dict(id=1, name="same"), dict(id=2, name="same")]
    return dict(images=[dict(id=1)], categories=categories, annotations=annotations)


def result(box, score, label=1):
    return dict(image_id=1, category_id=label, bbox=box, score=score)


def test_by_hand(evaluate):
    # two objects; detections: the first exactly, a false positive, the second with IoU 0.6
    truth = box_file([[0, 0, 10, 10], [50, 50, 10, 10]])
    results = [
        result([0, 0, 10, 10], 0.9),
        result([80, 80, 10, 10], 0.8),
        result([50, 50, 10, 6], 0.7),
    ]
    scores = evaluate(truth, results)
    # at IoU .5, .55 and .6 precision is 1 up to recall .5, then 2 / 3; at higher thresholds 0
    low, high = (51 + 50 * 2 / 3) / 101, 51 / 101
    summary = scores.summary
    assert summary["AP50"] == pytest.approx(100 * low)
    assert summary["AP75"] == pytest.approx(100 * high)
    assert summary["AP"] == pytest.approx(100 * (3 * low + 7 * high) / 10)
    assert summary["APs"] == summary["AP"] and np.isnan(summary["APm"])
    assert summary["AR100"] == pytest.approx(100 * (3 * 1 + 7 * 0.5) / 10)
    assert summary["AR1"] == pytest.approx(50)
    # two classes may have the same name
    assert scores.by_class() == pytest.approx([summary["AP"], np.nan], nan_ok=True)


def test_ap50_lost_by_kind_of_error(evaluate):
    truth = box_file([[0, 0, 10, 10], [50, 50, 10, 10], [90, 90, 10, 10], [190, 90, 10, 10]])
    truth["annotations"][2]["category_id"] = truth["annotations"][3]["category_id"] = 2
    correct = [result(a["bbox"], 0.9, a["category_id"]) for a in truth["annotations"]]
    assert set(evaluate(truth, correct).errors.values()) == {0}
    lost = 100 * (1 - 51 / 101) / 2  # one of two objects, in one of two classes
    for wrong, costs in (
        (result([50, 50, 10, 10], 0.8, label=2), dict(Cls=lost, FN=lost)),
        (result([50, 50, 10, 4], 0.8), dict(Loc=lost, FN=lost)),
        (result([0, 0, 10, 10], 0.8), dict(Miss=lost, FN=lost)),
        # a higher score than the correct one: half the precision
        (
            result([390, 90, 5, 5], 0.95),
            dict(Bkg=25 * 51 / 101, FP=25 * 51 / 101, Miss=lost / 2, FN=lost / 2),
        ),
    ):
        errors = evaluate(truth, [correct[0], *correct[2:], wrong]).errors
        assert {kind: cost for kind, cost in errors.items() if cost} == pytest.approx(costs)


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_without_detections_or_objects(evaluate, task):
    box = [0, 0, 10, 10]
    truth = box_file([box])
    truth["annotations"][0]["segmentation"] = disc(box)
    no_detections = evaluate(truth, [], task)
    assert no_detections.summary["AP"] == no_detections.summary["AR100"] == 0
    for results in ([], [dict(result(box, 0.5), segmentation=disc(box))]):
        no_objects = evaluate(box_file([]), results, task)
        assert all(np.isnan(value) for value in no_objects.summary.values())
        assert np.isnan(no_objects.curves).all()
