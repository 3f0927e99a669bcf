"""`ClassificationAccuracy`: metrics, order and processes, files, pictures, errors."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluators
from evaluation_runs import evaluate, evaluate_on_two
from PIL import Image

from mvit_det.errors import UserError
from mvit_det.evaluation import ClassificationAccuracy, UnreadableImages

NAMES = ["fig", "date", "nut", "pit", "leaf", "soil", "twig"]


def scene(images=60, classes=7, seed=0):
    """Return inputs, labels, file names and scores of a test set."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    scores = torch.rand(images, classes, generator=generator)
    scores[torch.arange(images), labels] += 0.4
    colours = torch.linspace(-1.5, 1.5, classes)[labels]
    inputs = colours.view(-1, 1, 1, 1).expand(-1, 3, 24, 32).clone()
    files = [f"photos/{number:03d}.jpg" for number in range(images)]
    return inputs, labels, files, scores / scores.sum(dim=1, keepdim=True)


def batches(data, rows, size=8):
    inputs, labels, files, scores = data
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        batch = dict(inputs=inputs[part], labels=labels[part], file_name=[files[i] for i in part])
        yield batch, scores[part]


def content(folder: Path) -> dict[str, bytes]:
    """Return the content of all files by relative path."""
    names = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in names}


def stored(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "classification_predictions.npz") as file:
        return {name: file[name] for name in file.files}


def test_metrics_tables_and_files(tmp_path, caplog):
    data = inputs, labels, files, scores = scene()
    evaluator = ClassificationAccuracy(output_dir=str(tmp_path), class_names=NAMES)
    with caplog.at_level(logging.INFO):
        results = evaluate(evaluator, batches(data, range(60)))
    assert list(results) == ["classification"]
    metrics = results["classification"]
    averages = ["top1", "top5", "mean_class_accuracy"]
    assert list(metrics) == averages + [f"top1-{name}" for name in NAMES]
    order = scores.argsort(dim=1, descending=True)
    correct = order[:, 0] == labels
    assert metrics["top1"] == 100 * correct.sum().item() / 60
    assert metrics["top5"] == 100 * (order[:, :5] == labels[:, None]).sum().item() / 60
    for k, name in enumerate(NAMES):
        assert metrics[f"top1-{name}"] == pytest.approx(100 * correct[labels == k].float().mean())
    for value in metrics.values():
        assert f" {value:.2f} |" in caplog.text
    assert sorted(content(tmp_path)) == [
        "class_accuracy.csv",
        "classification_predictions.npz",
        "pictures/class_accuracy.png",
        "pictures/confusion.png",
        "pictures/overview.png",
    ]
    columns = stored(tmp_path)
    assert columns["file_name"].tolist() == files
    assert columns["label"].tolist() == labels.tolist()
    assert columns["class_names"].tolist() == NAMES
    assert np.array_equal(columns["top_classes"], order[:, :5].numpy())
    assert np.array_equal(columns["top_scores"], scores.gather(1, order)[:, :5].numpy())


@pytest.mark.usefixtures("no_plots")
def test_results_are_independent_of_order_batches_and_processes(tmp_path):
    data = scene()

    def new_evaluator(folder):
        return lambda: ClassificationAccuracy(output_dir=str(tmp_path / folder))

    metrics = evaluate(new_evaluator("reference")(), batches(data, range(60)))
    for size in (1, 7, 60):
        rows = torch.randperm(60, generator=torch.Generator().manual_seed(size)).tolist()
        rows += rows[:3]  # as a sampler pads
        mixed = evaluate(new_evaluator(f"size{size}")(), batches(data, rows, size))
        assert repr(mixed) == repr(metrics)
    # some images are on both processes
    parts = batches(data, range(0, 25)), batches(data, range(22, 60))
    assert repr(evaluate_on_two(new_evaluator("two"), *parts)) == repr([metrics, {}])
    expected = content(tmp_path / "reference")
    assert len(expected) == 3
    for folder in ("size1", "size7", "size60", "two"):
        assert content(tmp_path / folder) == expected


def test_only_the_first_outputs_are_evaluated():
    data = inputs, labels, files, scores = scene()
    more = torch.cat([scores, scores.max() + torch.rand(60, 12)], dim=1)
    evaluator = ClassificationAccuracy(class_names=NAMES, classes=7)
    expected = evaluate(ClassificationAccuracy(class_names=NAMES), batches(data, range(60)))
    with_more = list(batches((inputs, labels, files, more), range(60)))
    assert evaluate(evaluator, with_more) == expected
    assert evaluate(ClassificationAccuracy(), with_more)["classification"]["top1"] == 0
    with pytest.raises(UserError, match="19 outputs of the model are evaluated, but .* 7 classes"):
        evaluate(ClassificationAccuracy(class_names=NAMES), with_more)
    with pytest.raises(UserError, match="classes=20 cannot be evaluated, as the model has 19"):
        evaluate(ClassificationAccuracy(classes=20), with_more)


def test_names_of_a_registered_dataset():
    MetadataCatalog.get("classification_test").set(thing_classes=["a", "b", "a"])
    try:
        evaluator = ClassificationAccuracy("classification_test")
        metrics = evaluate(evaluator, batches(scene(classes=3), range(60)))["classification"]
    finally:
        MetadataCatalog.remove("classification_test")
    assert [key for key in metrics if "-" in key] == ["top1-a (0)", "top1-b", "top1-a (2)"]
    assert metrics["top5"] == 100


@pytest.mark.usefixtures("no_plots")
def test_a_class_without_images_and_many_classes(tmp_path, caplog):
    metrics = evaluate(ClassificationAccuracy(), batches(scene(5), range(5)))["classification"]
    assert sum(map(math.isnan, metrics.values())) >= 2 and not math.isnan(metrics["top1"])
    many = ClassificationAccuracy(output_dir=str(tmp_path))
    with caplog.at_level(logging.INFO):
        metrics = evaluate(many, batches(scene(300, 200), range(300)))["classification"]
    assert list(metrics) == ["top1", "top5", "mean_class_accuracy"]
    assert "The 20 of 200 classes of lowest accuracy" in caplog.text
    table = (tmp_path / "class_accuracy.csv").read_text().splitlines()
    assert len(table) == 201


@pytest.mark.usefixtures("no_plots")
def test_unreadable_images_are_left_out_and_counted(tmp_path, caplog):
    data = inputs, labels, files, scores = scene()
    readable = [row for row in range(60) if row % 7]
    expected = evaluate(ClassificationAccuracy(), batches(data, readable))
    broken = scores.clone()
    broken[::7] = torch.nan  # scores of blank images are arbitrary
    pairs = []
    for batch, rows in batches((inputs, labels, files, broken), range(60)):
        reasons = [None if int(f[7:10]) % 7 else "no picture" for f in batch["file_name"]]
        pairs.append((dict(batch, unreadable=reasons), rows))
    folder = str(tmp_path)
    both = DatasetEvaluators([ClassificationAccuracy(output_dir=folder), UnreadableImages()])
    results = evaluate(both, pairs)
    assert results["classification"] == expected["classification"]
    assert results["unreadable"] == {"images": 9}
    assert "9 of 60 test images could not be read and were left out of the accuracy" in caplog.text
    assert "photos/000.jpg: no picture" in caplog.text
    assert stored(tmp_path)["file_name"].tolist() == [files[row] for row in readable]
    # the next evaluation of the same run
    assert evaluate(both, batches(data, readable)) == expected


def test_no_readable_image(tmp_path, caplog):
    evaluator = ClassificationAccuracy(output_dir=str(tmp_path))
    assert evaluate(evaluator, []) == {}
    [(batch, scores)] = batches(scene(3), range(3))
    batch["unreadable"] = ["empty"] * 3
    assert evaluate(evaluator, [(batch, scores)]) == {}
    assert "received no readable image" in caplog.text
    assert list(tmp_path.iterdir()) == []


def changed(**entries):
    [(batch, scores)] = batches(scene(4), range(4))
    scores = entries.pop("scores", scores)
    return [({**batch, **entries}, scores)]


NAN, INF = torch.full((4, 7), 0.1), torch.full((4, 7), 0.1)
NAN[2, 3], INF[1, 6] = math.nan, -math.inf


@pytest.mark.parametrize(
    "entries, message",
    [
        (dict(scores=NAN), "scores of photos/002.jpg are not all finite numbers"),
        (dict(scores=INF), "scores of photos/001.jpg are not all finite numbers"),
        (
            dict(labels=torch.tensor([0, 1, 7, 2])),
            "label of photos/002.jpg is 7, .* must be from 0 to 6",
        ),
        (dict(labels=torch.tensor([0, -1, 1, 2])), "label of photos/001.jpg is -1"),
        (dict(labels=torch.rand(4, 7)), r"labels of shape \(4, 7\): .* one class index per image"),
        (dict(scores=torch.rand(3, 7)), r"scores of shape \(3, 7\) for 4 images"),
        (dict(scores=torch.rand(4)), r"scores of shape \(4,\) for 4 images"),
    ],
)
def test_errors(entries, message):
    with pytest.raises(UserError, match=message) as caught:
        evaluate(ClassificationAccuracy(), changed(**entries))
    assert "\n" not in str(caught.value)


def test_bad_options():
    for name in ("classes", "num_examples"):
        with pytest.raises(UserError, match=f"{name}=0 of ClassificationAccuracy must be a whole"):
            ClassificationAccuracy(**{name: 0})


def test_scores_of_half_precision():
    data = inputs, labels, files, scores = scene()
    half = scores.bfloat16()
    expected = evaluate(ClassificationAccuracy(), batches((*data[:3], half.float()), range(60)))
    assert evaluate(ClassificationAccuracy(), batches((*data[:3], half), range(60))) == expected


def test_metrics_are_returned_if_files_cannot_be_written(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    pairs = list(batches(scene(), range(60)))
    metrics = evaluate(ClassificationAccuracy(output_dir=str(tmp_path / "file" / "out")), pairs)
    assert metrics == evaluate(ClassificationAccuracy(), pairs)
    assert "classification_predictions.npz cannot be written" in caplog.text
    assert "Examples could not be written" in caplog.text
    assert "Pictures could not be written" in caplog.text


@pytest.mark.usefixtures("no_plots")
def test_the_sheet_contains_correct_and_wrong_examples(tmp_path):
    inputs, labels, files, _ = scene(20, 2)
    inputs[:] = torch.tensor([1.0, -1.5, -1.5]).view(
        1, 3, 1, 1
    )  # reddish after the inverse normalization
    for name, predicted in (("correct", labels), ("wrong", 1 - labels)):
        scores = 0.2 + 0.6 * torch.eye(2)[predicted]
        folder = tmp_path / name
        evaluator = ClassificationAccuracy(output_dir=str(folder), num_examples=3)
        evaluate(evaluator, batches((inputs, labels, files, scores), range(20)))
        with Image.open(folder / "pictures" / "overview.png") as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        expected = 255 * (0.485 + 0.229), 255 * (0.456 - 1.5 * 0.224), 255 * (0.406 - 1.5 * 0.225)
        visible = np.abs(pixels - np.array(expected)).max(axis=2) < 2
        # three of 180 x 135, and no fourth one
        assert visible.sum() == pytest.approx(3 * 180 * 135, rel=0.02)
        green = (pixels[..., 1] - pixels[..., 0] > 60).sum()
        red = ((pixels[..., 0] - pixels[..., 1] > 120) & ~visible).sum()
        assert (green > 50) == (name == "correct") and (red > 50) == (name == "wrong")
