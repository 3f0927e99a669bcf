"""The evaluator of classifiers: numbers, any split of the images, files, pictures, faults."""

import logging
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import launch
from detectron2.evaluation import DatasetEvaluators
from detectron2.utils import comm
from PIL import Image

from mvit_det.errors import UserError
from mvit_det.evaluation import ClassificationAccuracy, UnreadableImages

NAMES = ["fig", "date", "nut", "pit", "leaf", "soil", "twig"]


def scene(images=60, classes=7, seed=0):
    """Everything about a test set: (inputs, labels, file names, scores)."""
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


def evaluate(evaluator, given):
    evaluator.reset()
    for batch, scores in given:
        evaluator.process(batch, scores)
    return evaluator.evaluate()


def content(folder: Path) -> dict[str, bytes]:
    names = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in names}


def stored(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "classification_predictions.npz") as file:
        return {name: file[name] for name in file.files}


def test_numbers_tables_and_files(tmp_path, caplog):
    data = inputs, labels, files, scores = scene()
    evaluator = ClassificationAccuracy(output_dir=str(tmp_path), class_names=NAMES)
    with caplog.at_level(logging.INFO):
        results = evaluate(evaluator, batches(data, range(60)))
    assert list(results) == ["classification"]
    metrics = results["classification"]
    averages = ["top1", "top5", "mean_class_accuracy"]
    assert list(metrics) == averages + [f"top1-{name}" for name in NAMES]
    order = scores.argsort(dim=1, descending=True)
    right = order[:, 0] == labels
    assert metrics["top1"] == 100 * right.sum().item() / 60
    assert metrics["top5"] == 100 * (order[:, :5] == labels[:, None]).sum().item() / 60
    for k, name in enumerate(NAMES):
        assert metrics[f"top1-{name}"] == pytest.approx(100 * right[labels == k].float().mean())
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


@pytest.mark.parametrize("size", [1, 7, 60])
def test_the_order_and_the_batches_do_not_matter(tmp_path, size):
    data = scene()
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(size)).tolist()
    rows += rows[:3]  # as a sampler pads
    one, other = tmp_path / "one", tmp_path / "other"
    alone = evaluate(ClassificationAccuracy(output_dir=str(one)), batches(data, range(60)))
    again = evaluate(ClassificationAccuracy(output_dir=str(other)), batches(data, rows, size))
    assert repr(alone) == repr(again)
    assert content(one) == content(other)


def test_only_the_first_outputs_compete():
    data = inputs, labels, files, scores = scene()
    wide = torch.cat([scores, scores.max() + torch.rand(60, 12)], dim=1)
    evaluator = ClassificationAccuracy(class_names=NAMES, classes=7)
    narrow = evaluate(ClassificationAccuracy(class_names=NAMES), batches(data, range(60)))
    given = list(batches((inputs, labels, files, wide), range(60)))
    assert evaluate(evaluator, given) == narrow
    assert evaluate(ClassificationAccuracy(), given)["classification"]["top1"] == 0
    with pytest.raises(UserError, match="19 outputs of the model compete, but .* 7 classes"):
        evaluate(ClassificationAccuracy(class_names=NAMES), given)
    with pytest.raises(UserError, match="classes=20 outputs cannot compete: the model has 19"):
        evaluate(ClassificationAccuracy(classes=20), given)


def test_names_of_a_registered_data_set():
    MetadataCatalog.get("classification_test").set(thing_classes=["a", "b", "a"])
    try:
        evaluator = ClassificationAccuracy("classification_test")
        metrics = evaluate(evaluator, batches(scene(classes=3), range(60)))["classification"]
    finally:
        MetadataCatalog.remove("classification_test")
    assert [key for key in metrics if "-" in key] == ["top1-a (0)", "top1-b", "top1-a (2)"]
    assert metrics["top5"] == 100


def test_a_class_without_images_and_many_classes(tmp_path, caplog):
    metrics = evaluate(ClassificationAccuracy(), batches(scene(5), range(5)))["classification"]
    assert sum(map(math.isnan, metrics.values())) >= 2 and not math.isnan(metrics["top1"])
    many = ClassificationAccuracy(output_dir=str(tmp_path))
    with caplog.at_level(logging.INFO):
        metrics = evaluate(many, batches(scene(300, 19168), range(300)))["classification"]
    assert list(metrics) == ["top1", "top5", "mean_class_accuracy"]
    assert "The 20 of 19168 classes of lowest accuracy" in caplog.text
    table = (tmp_path / "class_accuracy.csv").read_text().splitlines()
    assert len(table) == 19169


def test_bad_images_are_left_out_and_counted(tmp_path, caplog):
    data = inputs, labels, files, scores = scene()
    sound = [row for row in range(60) if row % 7]
    expected = evaluate(ClassificationAccuracy(), batches(data, sound))
    broken = scores.clone()
    broken[::7] = torch.nan  # of blank images anything may come
    given = []
    for batch, rows in batches((inputs, labels, files, broken), range(60)):
        reasons = [None if int(f[7:10]) % 7 else "no picture" for f in batch["file_name"]]
        given.append((dict(batch, unreadable=reasons), rows))
    folder = str(tmp_path)
    both = DatasetEvaluators([ClassificationAccuracy(output_dir=folder), UnreadableImages()])
    results = evaluate(both, given)
    assert results["classification"] == expected["classification"]
    assert results["unreadable"] == {"images": 9}
    assert "9 of 60 test images could not be read and were left out of the accuracy" in caplog.text
    assert "photos/000.jpg: no picture" in caplog.text
    assert stored(tmp_path)["file_name"].tolist() == [files[row] for row in sound]
    # the next evaluation of the same run
    assert evaluate(both, batches(data, sound)) == expected


def test_nothing_that_could_be_read(tmp_path, caplog):
    evaluator = ClassificationAccuracy(output_dir=str(tmp_path))
    assert evaluate(evaluator, []) == {}
    [(batch, scores)] = batches(scene(3), range(3))
    batch["unreadable"] = ["empty"] * 3
    assert evaluate(evaluator, [(batch, scores)]) == {}
    assert "has seen no image that could be read" in caplog.text
    assert list(tmp_path.iterdir()) == []


def changed(**entries):
    [(batch, scores)] = batches(scene(4), range(4))
    scores = entries.pop("scores", scores)
    return [({**batch, **entries}, scores)]


NAN, INF = torch.full((4, 7), 0.1), torch.full((4, 7), 0.1)
NAN[2, 3], INF[1, 6] = math.nan, -math.inf


@pytest.mark.parametrize(
    "entries, told",
    [
        (dict(scores=NAN), "scores of photos/002.jpg are not all finite numbers"),
        (dict(scores=INF), "scores of photos/001.jpg are not all finite numbers"),
        (dict(labels=torch.tensor([0, 1, 7, 2])), "label of photos/002.jpg is 7, .* the 7 classes"),
        (dict(labels=torch.tensor([0, -1, 1, 2])), "label of photos/001.jpg is -1"),
        (dict(labels=torch.rand(4, 7)), r"labels of shape \(4, 7\): .* one class number per image"),
        (dict(scores=torch.rand(3, 7)), r"gives \(3, 7\) scores for 4 images"),
        (dict(scores=torch.rand(4)), r"gives \(4,\) scores for 4 images"),
    ],
)
def test_faults_end_in_one_sentence(entries, told):
    with pytest.raises(UserError, match=told) as caught:
        evaluate(ClassificationAccuracy(), changed(**entries))
    assert "\n" not in str(caught.value)


def test_bad_options():
    for name in ("classes", "num_examples"):
        with pytest.raises(UserError, match=f"{name}=0 of ClassificationAccuracy must be a whole"):
            ClassificationAccuracy(**{name: 0})


def test_half_precision_scores_count_as_they_are():
    data = inputs, labels, files, scores = scene()
    coarse = scores.bfloat16()
    expected = evaluate(ClassificationAccuracy(), batches((*data[:3], coarse.float()), range(60)))
    assert evaluate(ClassificationAccuracy(), batches((*data[:3], coarse), range(60))) == expected


def test_an_unwritable_folder_costs_files_not_metrics(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    given = list(batches(scene(), range(60)))
    metrics = evaluate(ClassificationAccuracy(output_dir=str(tmp_path / "file" / "out")), given)
    assert metrics == evaluate(ClassificationAccuracy(), given)
    assert "classification_predictions.npz cannot be written" in caplog.text
    assert "Examples could not be written" in caplog.text
    assert "Pictures could not be written" in caplog.text


def test_the_sheet_shows_what_is_right_and_what_is_wrong(tmp_path):
    inputs, labels, files, _ = scene(20, 2)
    inputs[:] = torch.tensor([1.0, -1.5, -1.5]).view(1, 3, 1, 1)  # reddish, if normalised back
    for name, taken_for in (("right", labels), ("wrong", 1 - labels)):
        scores = 0.2 + 0.6 * torch.eye(2)[taken_for]
        folder = tmp_path / name
        evaluator = ClassificationAccuracy(output_dir=str(folder), num_examples=3)
        evaluate(evaluator, batches((inputs, labels, files, scores), range(20)))
        with Image.open(folder / "pictures" / "overview.png") as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        expected = 255 * (0.485 + 0.229), 255 * (0.456 - 1.5 * 0.224), 255 * (0.406 - 1.5 * 0.225)
        shown = np.abs(pixels - np.array(expected)).max(axis=2) < 2
        # three of 180 x 135, and no fourth one
        assert shown.sum() == pytest.approx(3 * 180 * 135, rel=0.02)
        green = (pixels[..., 1] - pixels[..., 0] > 60).sum()
        red = ((pixels[..., 0] - pixels[..., 1] > 120) & ~shown).sum()
        assert (green > 50) == (name == "right") and (red > 50) == (name == "wrong")


def _one_of_two(folder):
    data = scene()
    own = [range(0, 25), range(22, 60)][comm.get_rank()]  # some images are in both
    metrics = evaluate(ClassificationAccuracy(output_dir=f"{folder}/two"), batches(data, own))
    Path(folder, f"{comm.get_rank()}.txt").write_text(repr(metrics))
    comm.synchronize()
    os._exit(0)  # at the interpreter's exit gloo's threads may abort the process


@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="needs two GPUs, or none")
def test_two_processes_equal_one(tmp_path):
    one = ClassificationAccuracy(output_dir=str(tmp_path / "one"))
    alone = evaluate(one, batches(scene(), range(60)))
    launch(_one_of_two, 2, dist_url="auto", args=(str(tmp_path),))
    assert (tmp_path / "0.txt").read_text() == repr(alone)
    assert (tmp_path / "1.txt").read_text() == "{}"
    assert content(tmp_path / "one") == content(tmp_path / "two")
