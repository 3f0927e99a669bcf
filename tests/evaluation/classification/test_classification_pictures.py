"""Plots of a classifier: accuracy by class and the confusion matrix."""

import numpy as np
import pytest
from PIL import Image

from mvit_det.evaluation.classification import plots
from mvit_det.evaluation.classification.metrics import Accuracy, Predictions
from mvit_det.evaluation.classification.plots import (
    confusion,
    draw_class_accuracy,
    draw_class_confusion,
)
from mvit_det.evaluation.drawing.figures import truncate_name


def predictions(pairs, classes) -> Predictions:
    """Return the predictions of (true, predicted) pairs."""
    label, predicted = np.array(pairs).T
    names = [f"kind{k}" for k in range(classes)]
    files = np.array([f"{n}.jpg" for n in range(len(label))])
    return Predictions(names, files, label, predicted[:, None], np.ones((len(label), 1)))


def accuracy(top1) -> Accuracy:
    """Return the accuracy of 100 images per class; None for a class without images."""
    images = np.array([0 if percent is None else 100 for percent in top1])
    correct = np.array([percent or 0 for percent in top1])
    return Accuracy(images, correct, correct)


@pytest.fixture
def drawn(monkeypatch):
    """Record the arguments of `draw_matrix`, which draws nothing."""
    calls = []

    def record(path, counts, *arguments):
        calls.append((counts.tolist(), *arguments))

    monkeypatch.setattr(plots, "draw_matrix", record)
    return calls


def test_confusion_counts():
    pairs = predictions([(0, 0), (0, 0), (0, 2), (1, 0), (2, 1), (3, 3), (2, 3)], 4)
    assert confusion(pairs, np.arange(4)).tolist() == [
        [2, 0, 1, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 1, 0, 1, 0],
        [0, 0, 0, 1, 0],
    ]
    # rows and columns in the order of the argument, the other classes in the last column
    assert confusion(pairs, np.array([2, 0])).tolist() == [[0, 0, 2], [1, 2, 0]]


def test_all_of_few_classes_are_drawn(tmp_path, drawn):
    draw_class_confusion(tmp_path / "few.png", predictions([(0, 0), (1, 0), (2, 2)], 3))
    [(counts, left, bottom, title, _)] = drawn
    assert counts == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert left == bottom == ["kind0", "kind1", "kind2"]
    assert title == "3 images, 66.7 % correct"


def test_the_matrix_is_drawn(tmp_path):
    draw_class_confusion(tmp_path / "new" / "few.png", predictions([(0, 0), (1, 0), (2, 2)], 3))
    with Image.open(tmp_path / "new" / "few.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (pixels[..., 2] - pixels[..., 0] > 60).mean() > 0.05


def test_confused_pairs_of_many_classes_are_neighbours(tmp_path, drawn):
    pairs = [(500, 7)] * 3 + [(7, 500)] + [(900, 901)] * 2 + [(k, k) for k in range(19168)]
    pairs += [(500, 18000 - k) for k in range(40)]
    draw_class_confusion(tmp_path / "many.png", predictions(pairs, 19168))
    [(counts, left, bottom, title, _)] = drawn
    assert left[:4] == ["kind500", "kind7", "kind900", "kind901"] and bottom == [*left, "others"]
    assert len(left) == 30 == len(set(left))
    assert [row[:4] for row in counts[:4]] == [
        [1, 3, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 2],
        [0, 0, 0, 1],
    ]
    assert sum(counts[0]) == 44 and counts[0][-1] == 40 - counts[0][4:-1].count(1)
    assert "the 30 of 19168 classes in the most frequent mistakes" in title


def test_the_first_classes_are_drawn_without_mistakes(tmp_path, drawn):
    draw_class_confusion(tmp_path / "right.png", predictions([(k, k) for k in range(50)], 50))
    [(counts, left, _, title, _)] = drawn
    assert left == [f"kind{k}" for k in range(30)]
    assert np.array_equal(counts, np.eye(30, 31)) and "100.0 % correct" in title


@pytest.fixture
def bars(monkeypatch):
    """Record the lengths of the bars."""
    from matplotlib.axes import Axes

    widths = []
    original = Axes.barh

    def record(axes, places, width, **options):
        widths.extend(width)
        return original(axes, places, width, **options)

    monkeypatch.setattr(Axes, "barh", record)
    return widths


def test_bars(tmp_path, bars):
    draw_class_accuracy(tmp_path / "a.png", accuracy([90, None, 10, 50]), ["a", "$b$", "c", "d"])
    assert bars == [90, 50, 10]  # from the top
    with Image.open(tmp_path / "a.png") as picture:
        assert min(picture.size) > 300
    bars.clear()
    draw_class_accuracy(tmp_path / "one.png", accuracy([100]), ["a"])
    assert bars == [100]


def test_the_worst_of_many_classes_have_bars(tmp_path, bars):
    rng = np.random.default_rng(0)
    percents = rng.permutation(np.arange(1000) % 101)
    draw_class_accuracy(
        tmp_path / "a.png", accuracy(percents.tolist()), list(map(str, range(1000)))
    )
    assert bars == sorted(percents)[:30]


def test_names_are_truncated_and_escaped():
    assert truncate_name("kind") == "kind"
    assert truncate_name("a nut with a name that is much too long") == "a nut with a name that..."
    assert truncate_name("$a$") == r"\$a\$"
