"""`ViewAccuracy`: means over views, order and processes, files, tables, errors."""

import json
import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.evaluation import DatasetEvaluators
from evaluation_runs import evaluate, evaluate_on_two
from PIL import Image

from mvit_det.errors import UserError
from mvit_det.evaluation import ClassificationAccuracy, UnreadableImages, ViewAccuracy
from mvit_det.evaluation.__main__ import argument_parser, main
from mvit_det.evaluation.video.files import read_scores
from mvit_det.evaluation.video.report import log_by_views

VIDEOS, CLIPS, CROPS, CLASSES = 40, 5, 3, 7
NAMES = ["fig", "date", "nut", "pit", "leaf", "soil", "twig"]


def scene(seed: int = 0, sharpness: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return labels (N,) and probabilities (N, clips, crops, K)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (VIDEOS,), generator=generator)
    logits = torch.randn(VIDEOS, CLIPS, CROPS, CLASSES, generator=generator)
    logits[torch.arange(VIDEOS), :, :, labels] += 0.7
    return labels, (sharpness * logits).softmax(dim=-1)


def items() -> list[dict]:
    labels = scene()[0].tolist()
    return [
        dict(file_name=f"videos/{v:02d}.mp4", label=labels[v], clip=k, clips=CLIPS)
        for v in range(VIDEOS)
        for k in range(CLIPS)
    ]


def batches(rows, size=4, data=None, unreadable=()):
    """Yield the dataset items (video * CLIPS + clip) in batches."""
    labels, scores = data or scene()
    rows = list(rows)
    for start in range(0, len(rows), size):
        video, clip = np.divmod(np.array(rows[start : start + size]), CLIPS)
        yield (
            dict(
                inputs=torch.zeros(len(video), CROPS, 3, 2, 4, 6),
                labels=labels[video],
                file_name=[f"videos/{v:02d}.mp4" for v in video],
                clip=torch.tensor(clip),
                clips=torch.full((len(video),), CLIPS),
                unreadable=["broken" if pair in unreadable else None for pair in zip(video, clip)],
            ),
            scores[video, clip],
        )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


ALL = range(VIDEOS * CLIPS)
# unreadable clips: two of a video, and all of another
LOST = [(3, 0), (3, 4), *((8, k) for k in range(CLIPS))]


def test_probabilities_are_averaged_over_all_views(tmp_path):
    labels, scores = scene(sharpness=6)
    pairs = batches(ALL, data=(labels, scores))
    evaluator = ViewAccuracy(output_dir=str(tmp_path), class_names=NAMES)
    metrics = evaluate(evaluator, pairs)["classification"]
    means = scores.double().mean(dim=(1, 2))
    order = means.argsort(dim=1, descending=True)
    assert metrics["top1"] == 100 * (order[:, 0] == labels).sum().item() / VIDEOS
    assert metrics["top5"] == 100 * (order[:, :5] == labels[:, None]).sum().item() / VIDEOS
    # means of logits, and votes, would predict another class for some of these videos
    by_logits = scores.log().mean(dim=(1, 2)).argmax(dim=1)
    by_votes = torch.stack([s.argmax(-1).flatten().bincount(minlength=CLASSES) for s in scores])
    predicted = torch.from_numpy(read_arrays(tmp_path / "video_scores.npz")["scores"]).argmax(dim=1)
    assert torch.equal(predicted, order[:, 0])
    assert (predicted != by_logits).any() and (predicted != by_votes.argmax(dim=1)).any()
    columns = read_arrays(tmp_path / "video_scores.npz")
    assert columns["class_names"].tolist() == NAMES
    assert columns["file_name"].tolist() == [f"videos/{v:02d}.mp4" for v in range(VIDEOS)]
    assert np.array_equal(columns["label"], labels.numpy())
    assert (columns["views"] == CLIPS * CROPS).all() and columns["scores"].dtype == np.float32
    assert np.abs(columns["scores"] - means.numpy()).max() < 1e-7
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert names == {
        *("video_scores.npz", "classification_predictions.npz", "class_accuracy.csv"),
        *(f"pictures/{name}.png" for name in ("overview", "confusion", "class_accuracy")),
    }
    assert (tmp_path / "class_accuracy.csv").read_text().startswith("number,class,videos,top1")


@pytest.mark.usefixtures("no_plots")
def test_results_are_independent_of_order_batches_and_processes(tmp_path):
    """The tests of `engine` start two processes."""

    def new_evaluator(folder):
        return lambda: ViewAccuracy(output_dir=str(tmp_path / folder))

    metrics = evaluate(new_evaluator("reference")(), batches(ALL, unreadable=LOST))
    for size in (1, 7, 64):
        rows = torch.randperm(len(ALL), generator=torch.Generator().manual_seed(size)).tolist()
        rows += rows[:3]  # as a sampler pads
        mixed = evaluate(new_evaluator(f"size{size}")(), batches(rows, size, unreadable=LOST))
        assert repr(mixed) == repr(metrics)
    # one video is on both processes
    parts = (batches(rows, unreadable=LOST) for rows in (range(93), range(93, len(ALL))))
    assert repr(evaluate_on_two(new_evaluator("two"), *parts)) == repr([metrics, {}])
    files = [path for path in (tmp_path / "reference").rglob("*.*")]
    assert len(files) == 4
    for path in files:
        for folder in ("size1", "size7", "size64", "two"):
            other = tmp_path / folder / path.relative_to(tmp_path / "reference")
            assert path.read_bytes() == other.read_bytes(), path.name


@pytest.mark.usefixtures("no_plots")
def test_videos_with_one_view_equal_images(tmp_path):
    labels, scores = scene()
    files = [f"{number:02d}.jpg" for number in range(VIDEOS)]
    batch = dict(inputs=torch.zeros(VIDEOS, 3, 2, 4, 4), labels=labels, file_name=files)
    single = scores[:, 0, 0]
    videos = evaluate(ViewAccuracy(output_dir=str(tmp_path)), [(batch, single)])
    assert videos == evaluate(ClassificationAccuracy(), [(batch, single)])
    assert np.array_equal(read_arrays(tmp_path / "video_scores.npz")["scores"], single.numpy())


@pytest.mark.usefixtures("no_plots")
def test_unreadable_clips_are_left_out_and_counted(tmp_path, caplog):
    labels, scores = scene()
    broken = scores.clone()
    for pair in LOST:
        broken[pair] = torch.nan  # scores of blank clips are arbitrary
    pairs = list(batches(ALL, data=(labels, broken), unreadable=LOST))
    both = DatasetEvaluators([ViewAccuracy(output_dir=str(tmp_path)), UnreadableImages()])
    results = evaluate(both, pairs)
    assert results["unreadable"] == {"videos": 2, "clips": 7}
    assert "7 clips of 2 test videos could not be read and were left out" in caplog.text
    assert "1 of 40 videos have no readable clip" in caplog.text
    assert "1 more lack some clips" in caplog.text
    columns = read_arrays(tmp_path / "video_scores.npz")
    assert len(columns["label"]) == 39 and "videos/08.mp4" not in columns["file_name"]
    row = columns["file_name"].tolist().index("videos/03.mp4")
    assert columns["views"][row] == 9
    expected = scores[3, 1:4].mean(dim=(0, 1))
    assert np.allclose(columns["scores"][row], expected, atol=1e-7)
    caplog.clear()
    assert "unreadable" not in evaluate(both, batches(ALL)) and "lack" not in caplog.text


def test_no_readable_video(tmp_path, caplog):
    pairs = list(batches(ALL, unreadable=[divmod(row, CLIPS) for row in ALL]))
    evaluator = ViewAccuracy(output_dir=str(tmp_path))
    evaluator.keep(items(), {}, resume=False)
    assert evaluate(evaluator, pairs) == {} and evaluate(ViewAccuracy(), []) == {}
    assert "ViewAccuracy received no readable video" in caplog.text
    assert list(tmp_path.iterdir()) == []


def changed(**entries):
    [(batch, scores)] = batches(range(4))
    scores = entries.pop("scores", scores)
    return [({**batch, **entries}, scores)]


LOGITS = torch.full((4, CROPS, CLASSES), 0.1)
LOGITS[2, 1, 3] = 7
NAN = torch.full((4, CROPS, CLASSES), 0.1)
NAN[3, 2, 0] = torch.nan


@pytest.mark.parametrize(
    "entries, message",
    [
        (dict(scores=LOGITS), r"of videos/00.mp4 are from 0.1 to 7, .* must end in a softmax"),
        (dict(scores=NAN), "scores of videos/00.mp4 are not all finite"),
        (dict(scores=torch.rand(4)), r"scores of shape \(4, 1\) for 4 videos"),
    ],
)
def test_errors(entries, message):
    with pytest.raises(UserError, match=message) as caught:
        evaluate(ViewAccuracy(), changed(**entries))
    assert "\n" not in str(caught.value)


def test_a_clip_that_is_not_in_the_dataset(tmp_path):
    evaluator = ViewAccuracy(output_dir=str(tmp_path))
    evaluator.keep(items(), {}, resume=False)
    with pytest.raises(UserError, match="Clip 9 of 5 of videos/00.mp4, label .* mapper"):
        evaluate(evaluator, changed(clip=torch.tensor([9, 0, 1, 2])))


@pytest.mark.usefixtures("no_plots")
def test_a_resumed_test_must_evaluate_the_same_classes(tmp_path):
    first = ViewAccuracy(output_dir=str(tmp_path))
    first.keep(items(), {}, resume=False)
    first.reset()
    for batch, scores in batches(range(8)):
        first.process(batch, scores)
    fewer = ViewAccuracy(output_dir=str(tmp_path), classes=5)
    with pytest.raises(UserError, match="compete: all there, 5 now"):
        fewer.keep(items(), {}, resume=True)
    again = ViewAccuracy(output_dir=str(tmp_path), class_names=NAMES)
    assert again.keep(items(), {}, resume=True) == list(ALL)[8:]
    # class names are known without further batches
    assert len(evaluate(again, [])["classification"]) == 3 + CLASSES


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Results and folder of an announced test with some unreadable views."""
    folder = tmp_path_factory.mktemp("kept")
    evaluator = ViewAccuracy(output_dir=str(folder), class_names=NAMES)
    assert evaluator.keep(items(), {"weights": "1"}, resume=False) == list(ALL)
    return evaluate(evaluator, batches(ALL, unreadable=LOST)), folder


@pytest.mark.parametrize("name", ["video_scores.npz", "view_scores.npz"])
def test_saved_scores_give_the_same_metrics(kept, tmp_path, name):
    results, folder = kept
    arguments = ["--predictions", str(folder / name), "--output", str(tmp_path)]
    assert repr(main(argument_parser().parse_args(arguments))) == repr(results)
    written = json.loads((tmp_path / "classification_metrics.json").read_text())
    assert written["classification/top1"] == results["classification"]["top1"]
    for path in ("class_accuracy.csv", "pictures/confusion.png", "pictures/class_accuracy.png"):
        assert (tmp_path / path).read_bytes() == (folder / path).read_bytes()
    predictions, views = read_scores(folder / name)
    assert np.array_equal(predictions.scores, read_scores(folder / "video_scores.npz")[0].scores)
    assert (views is None) == (name == "video_scores.npz")


def test_scores_of_views(kept):
    columns = read_arrays(kept[1] / "view_scores.npz")
    _, scores = scene()
    assert columns["scores"].shape == (39, CLIPS, CROPS, CLASSES)
    rows = [v for v in range(VIDEOS) if v != 8]
    expected = scores[rows].numpy()
    expected[3, [0, 4]] = np.nan
    assert np.array_equal(columns["scores"], expected, equal_nan=True)
    assert columns["file_name"].tolist() == [f"videos/{v:02d}.mp4" for v in rows]
    # a file of any size is a valid zip archive
    with zipfile.ZipFile(kept[1] / "view_scores.npz") as archive:
        assert archive.testzip() is None


def test_accuracy_by_number_of_views(caplog):
    labels, scores = scene()
    with caplog.at_level(logging.INFO):
        rows = log_by_views(scores.numpy(), labels.numpy())
    clips_by_count = {1: [2], 2: [0, 4], 3: [0, 2, 4], 4: [0, 1, 3, 4], 5: [0, 1, 2, 3, 4]}
    expected = []
    for crops in ([1], [0, 1, 2]):
        for count, clips in clips_by_count.items():
            best = scores[:, clips][:, :, crops].mean(dim=(1, 2)).topk(5).indices == labels[:, None]
            percents = 100 * best[:, 0].float().mean(), 100 * best.any(dim=1).float().mean()
            expected.append([f"{len(crops)} x {count}", VIDEOS, *map(float, percents)])
    assert [row[0] for row in rows] == [row[0] for row in expected]
    for row, values in zip(rows, expected):
        assert row[1:] == pytest.approx(values[1:])
        assert f"| {row[0]} " in caplog.text
    assert rows[0][2] < rows[-1][2]


def test_accuracy_by_number_of_many_clips_and_missing_views():
    scores = np.full((2, 30, 1, 3), np.nan, np.float32)
    scores[0, :, :, :] = [0.2, 0.7, 0.1]
    scores[1, 0] = [0.6, 0.3, 0.1]
    rows = log_by_views(scores, np.array([1, 0]))
    assert len(rows) == 10 and rows[0] == ["1 x 1", 1, 100, 100]
    assert all(row[1:] == [2, 100, 100] for row in rows[1:])


VIEW_FAULTS = {
    "scores": (np.zeros((2, 4, 3), np.float32), "its scores is float32 of shape"),
    "class_names": (np.array(["a", "b"]), r"scores are \(2, 1, 2, 3\) for 2 videos and 2 classes"),
}


@pytest.mark.parametrize("name", VIEW_FAULTS)
def test_errors_in_files_of_scores(tmp_path, name):
    value, message = VIEW_FAULTS[name]
    arrays = dict(
        class_names=np.array(["a", "b", "c"]),
        file_name=np.array(["x", "y"]),
        label=np.array([0, 1]),
        scores=np.full((2, 1, 2, 3), 0.3, np.float32),
    )
    path = tmp_path / "views.npz"
    np.savez(path, **arrays)
    assert len(read_scores(path)[0]) == 2
    np.savez(path, **{**arrays, name: value})
    with pytest.raises(UserError, match=message):
        read_scores(path)
    for invalid in (np.nan, np.inf):
        arrays["scores"][1] = invalid
        np.savez(path, **arrays)
        with pytest.raises(UserError, match="not finite"):
            read_scores(path)


@pytest.mark.usefixtures("no_plots")
def test_the_sheet_contains_frames_of_middle_clips_by_the_prediction_for_videos(tmp_path):
    labels = torch.tensor([0, 0])
    scores = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).view(2, 1, 1, 2).repeat(1, CLIPS, CROPS, 1)
    scores[1, 2] = torch.tensor([0.8, 0.2])  # the middle clip alone would be correct
    pairs = []
    for batch, rows in batches(range(2 * CLIPS), data=(labels, scores)):
        clips = batch["inputs"].new_full((len(rows), CROPS, 3, 8, 24, 32), -2.0)
        middle = (batch["clip"] == 2).nonzero()[:, 0]
        for row in middle:
            clips[row, 1, 0, :] = torch.linspace(0, 7, 8).view(8, 1, 1) / 7 * 2 - 1
        pairs.append((dict(batch, inputs=clips), rows))
    evaluate(ViewAccuracy(output_dir=str(tmp_path), class_names=["no", "yes"]), pairs)
    with Image.open(tmp_path / "pictures" / "overview.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    # only red, brighter from frame to frame: frames 0, 2, 5 and 7 of 8
    strips = 0
    for frame in (0, 2, 5, 7):
        red = 255 * (0.45 + 0.225 * (frame / 7 * 2 - 1))
        visible = (np.abs(pixels - np.array([red, 0, 0])).max(axis=2) < 2).sum()
        strips += visible / (136 * 102)
    assert strips == pytest.approx(8, rel=0.01)  # two videos
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 60)
    assert red.sum() > 20  # a caption in red, of the wrong prediction


def test_clips_that_two_processes_tested_are_logged(caplog):
    metrics, _ = evaluate_on_two(ViewAccuracy, batches(range(10)), batches(range(8, 20)))
    assert metrics
    assert "2 clips were tested by several processes and count repeatedly" in caplog.text
