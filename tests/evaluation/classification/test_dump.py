"""Dumped scores: the layout of MMAction2's dumps, its accuracies from them, order and faults."""

import json
import pickle

import numpy as np
import pytest
import torch
from evaluation_runs import evaluate, evaluate_on_two
from golden.make_dump_metrics import (
    ABSENT,
    CLASSES,
    CLIPS,
    CROPS,
    METRICS,
    VIDEOS,
    describe_sample,
    scene,
)

from mvit_det.errors import UserError
from mvit_det.evaluation import ClassificationAccuracy, ViewAccuracy

GOLDEN = json.loads(METRICS.read_text())
FILES = [f"{(7 * video) % VIDEOS}.mp4" for video in range(VIDEOS)]  # not in alphabetical order
LABELS, VIEWS = scene()
pytestmark = pytest.mark.usefixtures("no_plots")


def clips(videos, places=range(CLIPS)):
    """A batch of the clips of each of these videos."""
    for video in videos:
        count = len(places)
        yield (
            dict(
                inputs=torch.zeros(count, CROPS, 3, 2, 4, 4),
                labels=torch.full((count,), LABELS[video]),
                file_name=[FILES[video]] * count,
                clip=torch.tensor(places),
                clips=torch.full((count,), CLIPS),
            ),
            torch.from_numpy(VIEWS[video, places]),
        )


def pictures(rows):
    """One batch with the first view of these videos."""
    inputs = torch.zeros(len(rows), 3, 4, 4)
    names = [FILES[row] for row in rows]
    batch = dict(inputs=inputs, labels=torch.from_numpy(LABELS[rows]), file_name=names)
    return [(batch, torch.from_numpy(VIEWS[rows, 0, 0]))]


def load(path):
    return pickle.loads(path.read_bytes())


def test_mmaction2_computes_the_same_accuracies_from_a_dump(tmp_path):
    path = tmp_path / "new" / "result.pkl"
    metrics = evaluate(ViewAccuracy(dump=str(path)), clips(range(VIDEOS)))["classification"]
    samples = load(path)
    assert type(samples) is list and len(samples) == VIDEOS
    sample = describe_sample(samples[0])
    assert sample.pop("filename") == ["str"] and sample == GOLDEN["sample"]
    # what its tools read, from which they computed the golden numbers
    assert [sample["gt_label"].tolist() for sample in samples] == LABELS[:, None].tolist()
    assert [sample["filename"] for sample in samples] == FILES
    scores = torch.stack([sample["pred_score"] for sample in samples])
    means = VIEWS.astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(scores.numpy(), means, rtol=0, atol=1e-7)
    predicted = torch.cat([sample["pred_label"] for sample in samples])
    assert torch.equal(predicted, scores.argmax(dim=1))
    confusion = np.zeros((CLASSES, CLASSES), int)
    np.add.at(confusion, (LABELS, predicted.numpy()), 1)
    assert confusion.tolist() == GOLDEN["confusion"]
    accuracy = GOLDEN["accuracy"]
    theirs = {f"acc/{name}": metrics[name] / 100 for name in ("top1", "top5")}
    theirs["acc/mean1"] = metrics["mean_class_accuracy"] / 100
    assert accuracy == pytest.approx(theirs, abs=1e-12)
    # each tensor has its own numbers alone, not those of all samples
    assert len(path.read_bytes()) < VIDEOS * (4 * CLASSES + 2500)


def test_mmaction2_counts_a_class_without_videos_as_wrong():
    """Unless it is never predicted; here such a class does not count."""
    rest = np.flatnonzero(LABELS != ABSENT)
    ours = evaluate(ViewAccuracy(), clips(rest))["classification"]
    theirs = GOLDEN["without_a_class"]
    assert theirs["acc/top1"] == pytest.approx(ours["top1"] / 100)
    share = (CLASSES - 1) / CLASSES
    assert theirs["acc/mean1"] == pytest.approx(ours["mean_class_accuracy"] / 100 * share)


def test_samples_are_in_the_order_of_the_data_set(tmp_path):
    """On two processes, with a padded batch, and after an interruption."""
    path, rows = tmp_path / "result.pkl", np.arange(60)

    def new(kind):
        return lambda: kind(dump=str(path))

    padded = pictures([*rows[30:], *rows[:4]])
    evaluate_on_two(new(ClassificationAccuracy), pictures(rows[:30]), padded)
    samples = load(path)
    assert [sample["filename"] for sample in samples] == FILES[:60]
    scores = torch.stack([sample["pred_score"] for sample in samples])
    assert np.array_equal(scores.numpy(), VIEWS[:60, 0, 0])

    evaluate_on_two(new(ViewAccuracy), clips(rows[:30]), clips(rows[30:]))
    expected = load(path)
    assert [sample["filename"] for sample in expected] == FILES[:60]
    # the clips of 50 to 59 are done when the test is resumed
    items = [
        dict(file_name=FILES[row], label=int(LABELS[row]), clip=clip, clips=CLIPS)
        for row in rows
        for clip in range(CLIPS)
    ]
    first, second = (ViewAccuracy(None, str(tmp_path / "run"), dump=str(path)) for _ in range(2))
    first.keep(items, {}, resume=False)
    first.reset()
    for inputs, outputs in clips(rows[50:]):
        first.process(inputs, outputs)
    assert len(second.keep(items, {}, resume=True)) == 50 * CLIPS
    evaluate(second, clips(rows[:50]))
    for sample, other in zip(load(path), expected, strict=True):
        assert sample["filename"] == other["filename"]
        assert torch.equal(sample["pred_score"], other["pred_score"])


def test_unsuitable_files_end_in_one_sentence_and_keep_the_metrics(tmp_path, caplog):
    with pytest.raises(UserError, match="result.json must end in .pkl or .pickle: rename it"):
        ViewAccuracy(dump="result.json")
    (tmp_path / "file").write_text("")
    evaluator = ClassificationAccuracy(dump=str(tmp_path / "file" / "result.pkl"))
    assert evaluate(evaluator, pictures(np.arange(9)))["classification"]["top5"] > 0
    assert "Scores of 9 images could not be written to" in caplog.text
