"""The confusion matrix and the contradictions on scenes made by hand, and the picture."""

import json

import numpy as np
import pytest

from mvit_det.evaluation.detection.confusion import confusion_matrix
from mvit_det.evaluation.detection.files import CocoTruth, Detections
from mvit_det.evaluation.detection.plots import draw_detection_confusion

LEFT, RIGHT, FAR = [0, 0, 10, 10], [30, 0, 10, 10], [60, 0, 10, 10]


@pytest.fixture
def confusion(tmp_path):
    """A function of objects (image, label, box, crowd), and detections with a score for crowd."""

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


def test_each_fate_of_an_object(confusion):
    objects = [(0, 0, LEFT, 0), (0, 1, RIGHT, 0), (1, 0, FAR, 0)]
    detections = [(0, 0, LEFT, 0.9), (0, 0, RIGHT, 0.8), (0, 1, FAR, 0.7), (0, 1, LEFT, 0.4)]
    # found; class 1 taken for 0; missed, since the detection is in another image; a low score
    assert confusion(objects, detections)[0] == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_the_own_class_comes_first(confusion):
    # The better score says class 1, but a detection of class 0 finds the object.
    detections = [(0, 1, LEFT, 0.9), (0, 0, [0, 0, 10, 9], 0.6)]
    assert confusion([(0, 0, LEFT, 0)], detections)[0] == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    # A rider and a horse, both found, though each overlaps the other's box more.
    objects = [(0, 0, LEFT, 0), (0, 1, [0, 0, 10, 8], 0)]
    detections = [(0, 1, LEFT, 0.9), (0, 0, [0, 0, 10, 8], 0.8)]
    assert confusion(objects, detections)[0] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_one_object_is_confused_once(confusion):
    detections = [(0, 1, LEFT, 0.9), (0, 1, LEFT, 0.8)]
    assert confusion([(0, 0, LEFT, 0)], detections)[0] == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("label", [0, 1])
def test_detections_on_a_crowd_count_nowhere(confusion, label):
    objects = [(0, 0, LEFT, 1), (0, 0, RIGHT, 0)]
    detections = [(0, label, LEFT, 0.9), (0, label, [2, 2, 5, 5], 0.8), (0, 0, RIGHT, 0.7)]
    assert confusion(objects, detections) == ([[1, 0, 0], [0, 0, 0], [0, 0, 0]], [])


def test_contradictions_of_the_annotations(confusion):
    objects = [(0, 0, LEFT, 0), (1, 0, LEFT, 1)]
    detections = [(1, 1, FAR, 0.85), (0, 1, LEFT, 0.9), (1, 0, RIGHT, 0.7), (1, 1, LEFT, 0.95)]
    # not the one of a low score, and not the one on a crowd
    wrong = dict(image_id="image0", bbox=LEFT, score=0.9, detected="date", annotated="fig")
    absent = dict(image_id="image1", bbox=FAR, score=0.85, detected="date", annotated=None)
    assert confusion(objects, detections)[1] == [wrong, absent]


def test_nothing_on_either_side(confusion):
    assert confusion([], [(0, 0, LEFT, 0.9)])[0] == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert confusion([(0, 0, LEFT, 0)], [(0, 0, LEFT, 0.1)])[0] == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_of_many_classes_the_confused_ones_are_drawn(tmp_path, monkeypatch):
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
    # Those left out are missed, not confused.
    assert "kind60 (12)" not in labels
