"""COCO's numbers: equal to pycocotools on random scenes, and to sums made by hand."""

import numpy as np
import pytest
from coco_scenes import by_pycocotools, disc, scene

from mvit_det.evaluation.detection import matching
from mvit_det.evaluation.detection.matching import Detections, Objects
from mvit_det.evaluation.detection.metrics import METRICS, measure


def columns(entries, image_ids, category_ids):
    """Image, label and box of annotations or results, numbered by ascending id."""
    image = np.searchsorted(image_ids, [e["image_id"] for e in entries]).astype(int)
    label = np.searchsorted(category_ids, [e["category_id"] for e in entries]).astype(int)
    return image, label, np.array([e["bbox"] for e in entries], float).reshape(-1, 4)


def ours(truth, results, masks=False):
    image_ids = sorted(i["id"] for i in truth["images"])
    category_ids = sorted(c["id"] for c in truth["categories"])
    annotations = truth["annotations"]
    image, label, box = columns(annotations, image_ids, category_ids)
    area = np.array([a["area"] for a in annotations], float)
    crowd = np.array([a["iscrowd"] for a in annotations], bool)
    shapes = [a["segmentation"] for a in annotations] if masks else None
    objects = Objects(image, label, box, area, crowd, shapes)
    image, label, box = columns(results, image_ids, category_ids)
    area, shapes = box[:, 2] * box[:, 3], None
    if masks:
        shapes = [r["segmentation"] for r in results]
        area = matching.mask_areas(shapes)
    score = np.array([r["score"] for r in results], float)
    return measure(objects, Detections(image, label, box, area, score, shapes), len(category_ids))


def assert_equal(scores, official):
    for name in ("precision", "recall", "scores"):
        expected = official.eval[name]
        np.testing.assert_allclose(getattr(scores, name), expected, atol=1e-10, rtol=0)
    expected = np.where(official.stats < 0, np.nan, official.stats * 100)
    np.testing.assert_allclose(list(scores.summary().values()), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("seed", range(60))
def test_boxes_as_pycocotools(seed):
    options = dict(images=1 + seed % 9, classes=2 + seed % 4, crowds=(0.15, 0, 0.6)[seed % 3])
    truth, results = scene(seed, **options)
    if results:
        assert_equal(ours(truth, results), by_pycocotools(truth, results, "bbox"))


@pytest.mark.parametrize("seed", range(100, 112))
def test_masks_as_pycocotools(seed):
    truth, results = scene(seed, masks=True)
    assert_equal(ours(truth, results, masks=True), by_pycocotools(truth, results, "segm"))


def test_pairs_in_small_pieces_give_the_same(monkeypatch):
    for masks in (False, True):
        truth, results = scene(5, masks=masks)
        whole = ours(truth, results, masks)
        with monkeypatch.context() as patch:
            patch.setattr(matching, "_PAIRS_AT_ONCE", 3)
            pieces = ours(truth, results, masks)
        np.testing.assert_array_equal(whole.precision, pieces.precision)
        np.testing.assert_array_equal(whole.found, pieces.found)


def test_the_scenes_hold_what_is_hard():
    """Else the comparisons above would prove less than they seem to."""
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


def box_file(boxes, crowd=0, area=None):
    annotations = [
        dict(id=i, image_id=1, category_id=1, bbox=b, area=area or b[2] * b[3], iscrowd=crowd)
        for i, b in enumerate(boxes)
    ]
    return dict(images=[dict(id=1)], categories=[dict(id=1)], annotations=annotations)


def result(box, score):
    return dict(image_id=1, category_id=1, bbox=box, score=score)


def test_by_hand():
    # Two objects; found: the first exactly, nothing, the second with an overlap of 60 / 100.
    truth = box_file([[0, 0, 10, 10], [50, 50, 10, 10]])
    results = [
        result([0, 0, 10, 10], 0.9),
        result([80, 80, 10, 10], 0.8),
        result([50, 50, 10, 6], 0.7),
    ]
    scores = ours(truth, results)
    assert scores.found.tolist() == [0, -1, 1]
    # At .5, .55 and .6 precision is 1 up to recall .5, then 2 / 3; at higher thresholds 1, then 0.
    low, high = (51 + 50 * 2 / 3) / 101, 51 / 101
    summary = scores.summary()
    assert summary["AP50"] == pytest.approx(100 * low)
    assert summary["AP75"] == pytest.approx(100 * high)
    assert summary["AP"] == pytest.approx(100 * (3 * low + 7 * high) / 10)
    assert summary["APs"] == summary["AP"] and np.isnan(summary["APm"])
    assert summary["AR100"] == pytest.approx(100 * (3 * 1 + 7 * 0.5) / 10)
    assert summary["AR1"] == pytest.approx(50)
    assert list(summary) == list(METRICS)
    assert scores.by_class() == [summary["AP"]]
    assert scores.scores[0, [0, 50, 51, 100], 0, 0, -1].tolist() == [0.9, 0.9, 0.7, 0.7]


def test_a_crowd_neither_counts_nor_costs():
    truth = box_file([[0, 0, 100, 100]], crowd=1)
    truth["annotations"].append(dict(truth["annotations"][0], id=9, bbox=[200, 0, 9, 9], iscrowd=0))
    inside = [result([x, 5, 10, 10], 0.9) for x in (5, 30, 60)]
    assert ours(truth, [*inside, result([200, 0, 9, 9], 0.1)]).summary()["AP"] == pytest.approx(100)


def test_nothing_on_either_side():
    nothing_found = ours(box_file([[0, 0, 10, 10]]), [])
    assert nothing_found.summary()["AP"] == nothing_found.summary()["AR100"] == 0
    no_objects = ours(box_file([]), [result([0, 0, 10, 10], 0.5)])
    assert all(np.isnan(value) for value in no_objects.summary().values())
    assert np.isnan(no_objects.curves()).all()
    assert all(np.isnan(value) for value in ours(box_file([]), []).summary().values())
    masks = dict(bbox=[0, 0, 10, 10], segmentation=disc([0, 0, 10, 10]))
    truth = box_file([[0, 0, 10, 10]])
    truth["annotations"][0].update(masks)
    assert ours(truth, [], masks=True).summary()["AP"] == 0
