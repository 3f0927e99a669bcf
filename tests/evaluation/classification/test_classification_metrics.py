"""Accuracy equal to brute force and timm, ties, and files."""

import csv
import io

import numpy as np
import pytest
import torch
from timm.utils import accuracy as timm_accuracy

from mvit_det.errors import UserError
from mvit_det.evaluation.classification.files import (
    save_classes,
    save_predictions,
)
from mvit_det.evaluation.classification.metrics import (
    Predictions,
    best_classes,
    compute_accuracy,
    unique_names,
)
from mvit_det.evaluation.video.files import read_scores


def predicted(scores: torch.Tensor, label, names=None, file_name=None) -> Predictions:
    best, classes = best_classes(scores)
    count = scores.shape[1]
    names = names or [f"kind{k}" for k in range(count)]
    file_name = np.array(file_name or [f"{n:04d}.jpg" for n in range(len(scores))])
    return Predictions(names, file_name, np.array(label), classes.numpy(), best.numpy())


def brute_force(scores: torch.Tensor, label: torch.Tensor, k: int) -> list[bool]:
    """Return per image whether its class is among the k best; equal scores by class index."""
    hits = []
    for row, true in zip(scores.tolist(), label.tolist()):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        hits.append(true in order[:k])
    return hits


@pytest.mark.parametrize("classes", [2, 3, 5, 6, 40, 1000])
def test_accuracy_equals_timm(classes):
    generator = torch.Generator().manual_seed(classes)
    # logits; a permutation of distinct numbers per row, so that there are no ties
    scores = torch.stack([torch.randperm(classes, generator=generator) for _ in range(300)])
    scores = scores.float() / 7 - 3
    label = torch.randint(classes, (300,), generator=generator)
    scores[torch.arange(300), label] += torch.randint(classes, (300,), generator=generator) / 7.0
    scores += torch.arange(classes) * 1e-4
    assert all(len(set(row)) == classes for row in scores.tolist())
    summary = compute_accuracy(predicted(scores, label)).summary()
    first, fifth = timm_accuracy(scores, label, topk=(1, 5))
    assert summary["top1"] == pytest.approx(first.item(), abs=1e-4)
    assert summary["top5"] == pytest.approx(fifth.item(), abs=1e-4)
    assert 0 < summary["top1"] < 100


@pytest.mark.parametrize("classes", [1, 2, 4, 5, 6, 30])
@pytest.mark.parametrize("levels", [1, 2, 3, 1000])
def test_accuracy_with_ties_equals_brute_force(classes, levels):
    generator = torch.Generator().manual_seed(classes * levels)
    scores = torch.randint(levels, (200, classes), generator=generator) / levels
    label = torch.randint(classes, (200,), generator=generator)
    accuracy = compute_accuracy(predicted(scores, label))
    for name, k in (("top1", 1), ("top5", 5)):
        hits = np.array(brute_force(scores, label, k))
        assert accuracy.summary()[name] == 100.0 * hits.sum() / 200
        by_class = getattr(accuracy, name)
        for c in range(classes):
            of_class = hits[label.numpy() == c]
            if len(of_class):
                assert by_class[c] == 100.0 * of_class.sum() / len(of_class)
            else:
                assert np.isnan(by_class[c])
    present = np.isfinite(accuracy.top1)
    assert accuracy.summary()["mean_class_accuracy"] == pytest.approx(accuracy.top1[present].mean())


def test_classes_count_equally_in_the_mean():
    scores = torch.eye(3)[[0, 0, 0, 1, 0]]
    accuracy = compute_accuracy(predicted(scores, [0, 0, 0, 1, 1]))
    assert accuracy.summary()["top1"] == 80
    assert accuracy.summary()["mean_class_accuracy"] == 75  # the third class has no image
    assert accuracy.images.tolist() == [3, 2, 0]
    assert accuracy.worst_first().tolist() == [1, 0]


def test_duplicate_images_count_once():
    scores = torch.eye(3)[[0, 1, 0, 0, 2]]
    files = ["b", "a", "b", "c", "c"]  # c has two labels
    once = predicted(scores, [0, 2, 0, 0, 1], file_name=files)
    once = once.select(once.unique_rows())
    assert once.file_name.tolist() == ["a", "b", "c", "c"]
    assert once.label.tolist() == [2, 0, 0, 1]
    assert once.correct.tolist() == [False, True, True, False]


def test_mistakes():
    scores = torch.eye(4)[[1, 1, 0, 3, 2, 1]]
    true, wrong, count = predicted(scores, [0, 0, 1, 3, 0, 1]).mistakes()
    assert list(zip(true, wrong, count)) == [(0, 1, 2), (0, 2, 1), (1, 0, 1)]


def test_repeated_names_get_the_class_index():
    assert unique_names(["crane", "fig", "crane"]) == ["crane (0)", "fig", "crane (2)"]


def test_predictions_are_read_as_saved(tmp_path):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(20, 8, generator=generator).softmax(dim=1)
    names = [f"kind {k} \u00e4\u6f22" for k in range(8)]
    files = [f"ordner \u00e4/{n}.jpg" for n in range(19)] + ["a" * 200]
    before = predicted(scores, torch.randint(8, (20,), generator=generator), names, files)
    save_predictions(tmp_path / "new" / "p.npz", before)
    after = read_scores(tmp_path / "new" / "p.npz")[0]
    assert after.names == names
    for name in ("file_name", "label", "classes", "scores"):
        assert np.array_equal(getattr(after, name), getattr(before, name)), name
    assert after.scores.dtype == np.float32
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.npz"]


def arrays() -> dict[str, np.ndarray]:
    return dict(
        class_names=np.array(["a", "b", "c"]),
        file_name=np.array(["x", "y"]),
        label=np.array([0, 2]),
        top_classes=np.array([[0, 1], [1, 2]]),
        top_scores=np.array([[0.9, 0.1], [0.8, 0.1]], np.float32),
    )


FAULTS = {
    "label": (np.array([0, 3]), "labels are from 0 to 3, of 3 classes"),
    "top_classes": (np.array([[0, -1], [1, 2]]), "top_classes are from -1 to 2"),
    "top_scores": (np.array([[0.9, np.nan], [0.8, 0.1]]), "not finite"),
    "file_name": (np.array(["x"]), "1 file names, 2 labels"),
    "class_names": (np.array(["a", "b", "a"]), "two classes have the same name"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_errors_of_columns(tmp_path, name):
    value, message = FAULTS[name]
    np.savez(tmp_path / "p.npz", **{**arrays(), name: value})
    with pytest.raises(UserError, match=message) as caught:
        read_scores(tmp_path / "p.npz")
    assert "p.npz" in str(caught.value) and "\n" not in str(caught.value)
    np.savez(tmp_path / "p.npz", **{**arrays(), name: np.array([[["x"]]])})
    with pytest.raises(UserError, match=f"its {name} is <U1 of shape"):
        read_scores(tmp_path / "p.npz")
    lacking = arrays()
    del lacking[name]
    np.savez(tmp_path / "p.npz", **lacking)
    with pytest.raises(UserError, match=f"it lacks {name}"):
        read_scores(tmp_path / "p.npz")


def test_files_that_are_not_predictions(tmp_path):
    path = tmp_path / "p.npz"
    with pytest.raises(UserError, match="does not exist"):
        read_scores(path)
    empty = {name: value[:0] for name, value in arrays().items() if name != "class_names"}
    np.savez(path, class_names=arrays()["class_names"], **empty)
    with pytest.raises(UserError, match="it has no predictions"):
        read_scores(path)
    np.savez(path, **arrays())
    whole = path.read_bytes()
    lone = io.BytesIO()
    np.save(lone, np.arange(3))
    for content in (b"", b"text", whole[: len(whole) // 2], lone.getvalue()):
        path.write_bytes(content)
        with pytest.raises(UserError, match="p.npz cannot be read as a file of predictions"):
            read_scores(path)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_in_the_file_is_executed(tmp_path):
    marker, path = tmp_path / "executed", tmp_path / "p.npz"
    np.savez(path, **{**arrays(), "file_name": np.array([Payload(marker)] * 2, object)})
    marker.unlink(missing_ok=True)
    with pytest.raises(UserError, match="cannot be read"):
        read_scores(path)
    assert not marker.exists()
    with np.load(path, allow_pickle=True) as file:
        file["file_name"]
    assert marker.exists()  # the payload works


def test_table_of_classes(tmp_path):
    scores = torch.eye(4)[[0, 2, 2, 1, 1]]
    predictions = predicted(scores, [0, 0, 0, 1, 2], ["fig", "a, b", "c", "d"])
    save_classes(tmp_path / "classes.csv", predictions, compute_accuracy(predictions))
    rows = list(csv.DictReader((tmp_path / "classes.csv").open(encoding="utf-8")))
    assert [row["class"] for row in rows] == ["fig", "a, b", "c", "d"]
    assert rows[0] == {
        "number": "0",
        "class": "fig",
        "images": "3",
        "top1": "33.33",
        "top5": "100.00",
        "most_taken_for": "c",
        "times": "2",
    }
    assert (rows[1]["top1"], rows[1]["most_taken_for"], rows[1]["times"]) == ("100.00", "", "0")
    assert rows[2]["most_taken_for"] == "a, b"
    assert (rows[3]["images"], rows[3]["top1"]) == ("0", "")
