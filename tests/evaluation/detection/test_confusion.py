"""Confusion matrix and contradictions on scenes by hand, and the picture."""

import json

import numpy as np
import pytest

from mvit_det.evaluation.detection.confusion import confusion_matrix
from mvit_det.evaluation.detection.files import CocoTruth, Detections
from mvit_det.evaluation.detection.plots import draw_detection_confusion

LEFT, RIGHT, FAR = [0, 0, 10, 10], [30, 0, 10, 10], [60, 0, 10, 10]


@pytest.fixture
def confusion(tmp_path):
    """Return a function of objects (image, label, box, crowd) and detections (..., score)."""

    def run(objects, detections):
        annotations = [
            dict(id=9, image_id=f"image{i}", category_id=10 * k, bbox=box, iscrowd=crowd)
            for i, k, box, crowd in objects
        ]
        images = [dict(id=f"image{i}") for i in range(2)]
        categories = [dict(id=0, name="fig"), dict(id=10, name="date")]
        path = tmp_path / "truth.json"
        path.write_text(
            json.dumps(dict(images=images, categories=categories, annotations=annotations))
        )
        image, label, box, score = map(np.array, zip(*detections))
        found = Detections(image, label, box.astype(float), score)
        matrix, contradictions = confusion_matrix(CocoTruth(path), found)
        return matrix.tolist(), contradictions

    return run


def test_detected_confused_and_missed_objects(confusion):
    objects = [(0, 0, LEFT, 0), (0, 1, RIGHT, 0), (1, 0, FAR, 0)]
    detections = [(0, 0, LEFT, 0.9), (0, 0, RIGHT, 0.8), (0, 1, FAR, 0.7), (0, 1, LEFT, 0.4)]
    # correct; class 1 confused with 0; missed (the detection is in another image); a low score
    assert confusion(objects, detections)[0] == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_the_same_class_is_matched_first(confusion):
    # the higher score is of class 1, but a detection of class 0 matches the object
    detections = [(0, 1, LEFT, 0.9), (0, 0, [0, 0, 10, 9], 0.6)]
    assert confusion([(0, 0, LEFT, 0)], detections)[0] == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    # a rider and a horse, both detected, though each has a higher IoU with the other
    objects = [(0, 0, LEFT, 0), (0, 1, [0, 0, 10, 8], 0)]
    detections = [(0, 1, LEFT, 0.9), (0, 0, [0, 0, 10, 8], 0.8)]
    assert confusion(objects, detections)[0] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_an_object_is_confused_once(confusion):
    detections = [(0, 1, LEFT, 0.9), (0, 1, LEFT, 0.8)]
    assert confusion([(0, 0, LEFT, 0)], detections)[0] == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("label", [0, 1])
def test_detections_on_a_crowd_are_ignored(confusion, label):
    objects = [(0, 0, LEFT, 1), (0, 0, RIGHT, 0)]
    detections = [(0, label, LEFT, 0.9), (0, label, [2, 2, 5, 5], 0.8), (0, 0, RIGHT, 0.7)]
    assert confusion(objects, detections) == ([[1, 0, 0], [0, 0, 0], [0, 0, 0]], [])


def test_contradictions_of_the_annotations(confusion):
    objects = [(0, 0, LEFT, 0), (1, 0, LEFT, 1)]
    detections = [(1, 1, FAR, 0.85), (0, 1, LEFT, 0.9), (1, 0, RIGHT, 0.7), (1, 1, LEFT, 0.95)]
    # neither the detection of a low score nor the one on a crowd
    wrong = dict(image_id="image0", bbox=LEFT, score=0.9, detected="date", annotated="fig")
    absent = dict(image_id="image1", bbox=FAR, score=0.85, detected="date", annotated=None)
    assert confusion(objects, detections)[1] == [wrong, absent]


def test_without_objects_or_detections(confusion):
    assert confusion([], [(0, 0, LEFT, 0.9)])[0] == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert confusion([(0, 0, LEFT, 0)], [(0, 0, LEFT, 0.1)])[0] == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_the_most_confused_of_many_classes_are_drawn(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    ticks = []
    original = Axes.set_yticks
    monkeypatch.setattr(
        Axes, "set_yticks", lambda axes, *a, **k: ticks.append(a[1]) or original(axes, *a, **k)
    )
    counts = np.diag([9] * 80 + [0])
    counts[41, 7] = counts[60, -1] = 3
    names = [f"kind{k}" for k in range(80)]
    draw_detection_confusion(tmp_path / "many.png", counts, names, overlap=0.5, min_score=0.5)
    (labels,) = ticks
    assert len(labels) == 31 and labels[-1] == "background (0)"
    assert "kind7 (9)" in labels and "kind41 (12)" in labels
    # objects of class 60 are missed, not confused
    assert "kind60 (12)" not in labels
