"""The confusion matrix on scenes made by hand, and its picture."""

import numpy as np
import pytest
from PIL import Image

from mvit_det.evaluation.detection.confusion import confusion_matrix
from mvit_det.evaluation.detection.matching import Detections, Objects
from mvit_det.evaluation.detection.metrics import measure
from mvit_det.evaluation.detection.plots import draw_confusion

LEFT, RIGHT, FAR = [0, 0, 10, 10], [30, 0, 10, 10], [60, 0, 10, 10]


def matrix(objects, detections, num_classes=2):
    """Of objects (image, label, box, crowd) and detections (image, label, box, score)."""
    image, label, box, crowd = map(np.array, zip(*objects))
    objects = Objects(image, label, box.astype(float), np.full(len(box), 100.0), crowd.astype(bool))
    image, label, box, score = map(np.array, zip(*detections))
    detections = Detections(image, label, box.astype(float), np.full(len(box), 100.0), score)
    found = measure(objects, detections, num_classes).found
    return confusion_matrix(objects, detections, found, num_classes).tolist()


def test_each_fate_of_an_object():
    objects = [(0, 0, LEFT, 0), (0, 1, RIGHT, 0), (1, 0, FAR, 0)]
    detections = [(0, 0, LEFT, 0.9), (0, 0, RIGHT, 0.8), (0, 1, FAR, 0.7)]
    # found; class 1 taken for 0; missed, since the detection is in another image
    assert matrix(objects, detections) == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_the_own_class_comes_first():
    # The better score says class 1, but a detection of class 0 finds the object.
    detections = [(0, 1, LEFT, 0.9), (0, 0, [0, 0, 10, 9], 0.6)]
    assert matrix([(0, 0, LEFT, 0)], detections) == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_one_object_is_confused_once():
    detections = [(0, 1, LEFT, 0.9), (0, 1, LEFT, 0.8)]
    assert matrix([(0, 0, LEFT, 0)], detections) == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("label", [0, 1])
def test_detections_on_a_crowd_count_nowhere(label):
    objects = [(0, 0, LEFT, 1), (0, 0, RIGHT, 0)]
    detections = [(0, label, LEFT, 0.9), (0, label, [2, 2, 5, 5], 0.8), (0, 0, RIGHT, 0.7)]
    assert matrix(objects, detections) == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def blue(path):
    """Share of blue pixels."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return (pixels[..., 2] - pixels[..., 0] > 60).mean()


def test_picture_shows_the_matrix(tmp_path):
    names = ["fig", "date", "a nut with a name that is much too long"]
    found, missed = np.diag([5, 5, 5, 0]), np.zeros((4, 4), int)
    missed[:3, 3] = 5
    for name, counts in (("found", found), ("missed", missed), ("none", 0 * found)):
        draw_confusion(tmp_path / f"{name}.png", counts, names, overlap=0.5, min_score=0.5)
    nothing = blue(tmp_path / "none.png")
    assert min(blue(tmp_path / f"{name}.png") for name in ("found", "missed")) > nothing + 0.05


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
    draw_confusion(tmp_path / "many.png", counts, names, overlap=0.5, min_score=0.5)
    (labels,) = ticks
    assert len(labels) == 31 and labels[-1] == "background (0)"
    assert "kind7 (9)" in labels and "kind41 (12)" in labels
    # Those left out are missed, not confused.
    assert "kind60 (12)" not in labels
