"""Accuracy by class and the confusion matrix of a classifier, as pictures."""

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
    """Of (true, predicted) pairs."""
    label, predicted = np.array(pairs).T
    names = [f"kind{k}" for k in range(classes)]
    files = np.array([f"{n}.jpg" for n in range(len(label))])
    return Predictions(names, files, label, predicted[:, None], np.ones((len(label), 1)))


def accuracy(top1) -> Accuracy:
    """Of 100 images of each class; None for one without images."""
    images = np.array([0 if share is None else 100 for share in top1])
    first = np.array([share or 0 for share in top1])
    return Accuracy(images, first, first)


@pytest.fixture
def drawn(monkeypatch):
    """The arguments of `draw_matrix`, as it is called."""
    calls = []
    original = plots.draw_matrix

    def recorded(path, counts, *arguments):
        calls.append((counts.tolist(), *arguments))
        original(path, counts, *arguments)

    monkeypatch.setattr(plots, "draw_matrix", recorded)
    return calls


def test_confusion_counts():
    given = predictions([(0, 0), (0, 0), (0, 2), (1, 0), (2, 1), (3, 3), (2, 3)], 4)
    assert confusion(given, np.arange(4)).tolist() == [
        [2, 0, 1, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 1, 0, 1, 0],
        [0, 0, 0, 1, 0],
    ]
    # rows and columns in the order asked for, the rest as others
    assert confusion(given, np.array([2, 0])).tolist() == [[0, 0, 2], [1, 2, 0]]


def test_few_classes_are_all_drawn(tmp_path, drawn):
    draw_class_confusion(tmp_path / "new" / "few.png", predictions([(0, 0), (1, 0), (2, 2)], 3))
    [(counts, left, bottom, title, _)] = drawn
    assert counts == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert left == bottom == ["kind0", "kind1", "kind2"]
    assert title == "3 images, 66.7 % of them right"
    with Image.open(tmp_path / "new" / "few.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (pixels[..., 2] - pixels[..., 0] > 60).mean() > 0.05


def test_of_many_classes_pairs_that_are_confused_stand_together(tmp_path, drawn):
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


def test_without_mistakes_any_classes_are_drawn(tmp_path, drawn):
    draw_class_confusion(tmp_path / "right.png", predictions([(k, k) for k in range(50)], 50))
    [(counts, left, _, title, _)] = drawn
    assert left == [f"kind{k}" for k in range(30)]
    assert np.array_equal(counts, np.eye(30, 31)) and "100.0 % of them right" in title


@pytest.fixture
def bars(monkeypatch):
    from matplotlib.axes import Axes

    widths = []
    original = Axes.barh

    def recorded(axes, places, width, **options):
        widths.extend(width)
        return original(axes, places, width, **options)

    monkeypatch.setattr(Axes, "barh", recorded)
    return widths


def test_bars(tmp_path, bars):
    draw_class_accuracy(tmp_path / "a.png", accuracy([90, None, 10, 50]), ["a", "$b$", "c", "d"])
    assert bars == [90, 50, 10]  # from above
    with Image.open(tmp_path / "a.png") as picture:
        assert min(picture.size) > 300
    bars.clear()
    draw_class_accuracy(tmp_path / "one.png", accuracy([100]), ["a"])
    assert bars == [100]


def test_of_many_classes_the_worst_have_bars(tmp_path, bars):
    rng = np.random.default_rng(0)
    shares = rng.permutation(np.arange(1000) % 101)
    draw_class_accuracy(tmp_path / "a.png", accuracy(shares.tolist()), list(map(str, range(1000))))
    assert bars == sorted(shares)[:30]


def test_names_are_cut_and_are_no_formulas():
    assert truncate_name("kind") == "kind"
    assert truncate_name("a nut with a name that is much too long") == "a nut with a name that..."
    assert truncate_name("$a$") == r"\$a\$"
