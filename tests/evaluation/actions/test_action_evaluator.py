"""`ActionMetrics`: metrics by hand, order and processes, files, pictures, errors."""

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

from mvit_det.ava_files import read_boxes
from mvit_det.errors import UserError
from mvit_det.evaluation import ActionMetrics, UnreadableImages
from mvit_det.evaluation.__main__ import argument_parser, main

NAME = "action_metrics_test"
NAMES = {1: "stand", 3: "dance", 4: "swim", 6: "fly"}  # outputs 2 and 5 are not evaluated
LEFT, RIGHT = (0.05, 0.1, 0.45, 0.9), (0.55, 0.1, 0.95, 0.9)


def register(folder, rows, **metadata):
    """Register a dataset whose ground truth has rows (video, second, box, actions)."""
    path = Path(folder, "truth.csv")
    path.parent.mkdir(exist_ok=True)
    lines = [
        ",".join(map(str, (video, f"{second:04d}", *box, action, 0)))
        for video, second, box, actions in rows
        for action in actions
    ]
    path.write_text("\n".join(lines) + "\n")
    forget()
    MetadataCatalog.get(NAME).set(ground_truth=[str(path)], actions=NAMES, **metadata)


def forget():
    if NAME in MetadataCatalog.list():
        MetadataCatalog.remove(NAME)


@pytest.fixture(autouse=True)
def clean_catalog():
    yield
    forget()


def clip(video, second, *people, region=(0, 0, 1, 1)):
    """Return a sample and the model's scores, from a box and {action: score} of each person."""
    scores = torch.zeros(len(people), 6)
    for row, (_, actions) in zip(scores, people):
        for action, score in actions.items():
            row[action - 1] = score
    sample = dict(
        inputs=torch.zeros(3, 4, 40, 60),
        video=video,
        second=float(second),
        original_boxes=torch.tensor([box for box, _ in people]).reshape(-1, 4),
        visible_area=torch.tensor(region, dtype=torch.float32),
        file_name=f"videos/{video}.mp4",
        unreadable=None,
    )
    return sample, scores


def batches(clips, size=1):
    """Yield clips in batches, with lists of samples as for whole frames."""
    for start in range(0, len(clips), size):
        samples, scores = zip(*clips[start : start + size])
        yield {key: [s[key] for s in samples] for key in samples[0]}, list(scores)


TRUTH = [
    ("a", 902, LEFT, [1]),
    ("a", 902, RIGHT, [1, 3]),
    ("a", 903, LEFT, [1, 2]),
    ("b", 902, RIGHT, [3]),
]


def good_clips():
    """Detect all three of "stand" with one false positive, and both of "dance" after one."""
    return [
        clip("a", 902, (LEFT, {1: 0.9}), (RIGHT, {1: 0.8, 3: 0.7})),
        clip("a", 903, (LEFT, {1: 0.3, 2: 1.0}), (RIGHT, {1: 0.5})),
        clip("b", 902, (LEFT, {3: 0.9}), (RIGHT, {3: 0.1})),
    ]


def test_metrics_by_hand(tmp_path, caplog):
    register(tmp_path, TRUTH)
    with caplog.at_level(logging.INFO):
        metrics = evaluate(ActionMetrics(NAME), batches(good_clips()))["actions"]
    # true or false positives by falling score; "stand": 1, 1, 0, 1; "dance": 0, 1, 1
    stand, dance = 100 * (1 + 1 + 3 / 4) / 3, 100 * 2 / 3
    mean = (stand + dance) / 2
    assert metrics.pop("mAP50") == pytest.approx(mean)
    assert metrics.pop("AP-stand") == pytest.approx(stand)
    assert metrics.pop("AP-dance") == pytest.approx(dance)
    assert list(metrics) == ["AP-swim", "AP-fly"] and all(map(math.isnan, metrics.values()))
    assert "mean over 2 classes; 2 of 4 have no ground truth" in caplog.text
    cells = " ".join(caplog.text.split())
    assert f"| stand | 3 | 6 | {stand:.2f} |" in cells and f"| 5 | 24 | {mean:.2f} |" in cells
    assert "not tested" not in caplog.text


def random_run(folder, digits=1):
    """Return the clips of a random test and register its truth; scores of one digit repeat."""
    rng = np.random.default_rng(0)
    rows, clips = [], []
    for number in range(24):
        people = []
        for _ in range(rng.integers(0, 4)):
            corner = rng.random(2) * 0.6
            box = np.concatenate([corner, corner + 0.1 + rng.random(2) * 0.3]).round(3)
            actions = rng.choice(6, rng.integers(1, 3), replace=False) + 1
            rows.append((f"v{number % 3}", 900 + number, tuple(box), actions))
            likely = np.where(np.isin(np.arange(1, 7), actions), 0.6, 0.3)
            scores = (likely + rng.random(6) * 0.4).round(digits)
            moved = (box + rng.normal(0, 0.01, 4)).clip(0, 1)
            people.append((tuple(moved), dict(enumerate(scores.tolist(), 1))))
        clips.append(clip(f"v{number % 3}", 900 + number, *people))
    register(folder, rows)
    return clips


@pytest.mark.usefixtures("no_plots")
def test_results_are_independent_of_order_batches_and_processes(tmp_path):
    clips = random_run(tmp_path)
    order = np.random.default_rng(1).permutation(len(clips))
    mixed = [clips[index] for index in (*order, *order[:5])]  # samplers may pad with duplicates

    def new_evaluator(folder):
        return lambda: ActionMetrics(NAME, tmp_path / folder, num_pictures=2)

    metrics = evaluate(new_evaluator("a")(), batches(clips))
    assert 0 < metrics["actions"]["mAP50"] < 100
    assert repr(evaluate(new_evaluator("b")(), batches(mixed, 7))) == repr(metrics)
    results = evaluate_on_two(new_evaluator("c"), batches(clips[::2], 3), batches(clips[1::2]))
    assert repr(results) == repr([metrics, {}])
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 4  # 2 key frames, their overview, and the detections
    for file in files:
        first, *rest = ((tmp_path / folder / file).read_bytes() for folder in "abc")
        assert rest == [first, first]
    unsorted, sorted_ = (
        evaluate(ActionMetrics(NAME, mode="pyslowfast"), batches(part)) for part in (mixed, clips)
    )
    assert repr(unsorted) == repr(sorted_) != repr(metrics)


def test_reset_forgets_all_detections(tmp_path):
    clips = random_run(tmp_path)
    evaluator = ActionMetrics(NAME)
    first, second, again = (evaluate(evaluator, batches(c)) for c in (clips, clips[::2], clips))
    assert repr(first) == repr(again) != repr(second)


@pytest.mark.usefixtures("no_plots")
def test_saved_detections_are_the_evaluated_actions_of_all_boxes(tmp_path):
    register(tmp_path, TRUTH)
    evaluate(ActionMetrics(NAME, tmp_path / "out", num_pictures=1), batches(good_clips()[::-1]))
    lines = (tmp_path / "out" / "action_detections.csv").read_text().splitlines()
    assert lines[0] == "a,0902,0.05,0.1,0.45,0.9,1,0.899999976"
    assert len(lines) == 6 * len(NAMES)
    table = read_boxes(tmp_path / "out" / "action_detections.csv", "detections")
    assert set(table.action.tolist()) == set(NAMES)
    assert [table.videos[v] for v in table.video] == ["a"] * 16 + ["b"] * 8
    assert (
        np.float32(table.score[:8]).tolist() == np.float32([0.9, 0, 0, 0, 0.8, 0.7, 0, 0]).tolist()
    )


@pytest.mark.usefixtures("no_plots")
def test_the_saved_file_gives_the_same_metrics(tmp_path):
    clips = random_run(tmp_path, digits=16)[1:]
    clips.append(clip("v0", 990, (LEFT, {1: 1.0, 3: 1.0})))  # not in the ground truth
    official = evaluate(ActionMetrics(NAME, tmp_path / "out", num_pictures=1), batches(clips))
    pyslowfast = evaluate(ActionMetrics(NAME, mode="pyslowfast"), batches(clips))
    files = [tmp_path / "truth.csv", tmp_path / "out" / "action_detections.csv"]
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{k}: {name}\n" for k, name in NAMES.items()))
    options = ["--actions", files[0], "--results", files[1], "--label-map", names, "--mode"]
    for mode, metrics in (("official", official), ("pyslowfast", pyslowfast)):
        again = main(argument_parser().parse_args([*map(str, options), mode]))
        assert repr(again) == repr(metrics) and 0 < metrics["actions"]["mAP50"] < 100
    assert repr(official) != repr(pyslowfast)


@pytest.mark.usefixtures("no_plots")
def test_unreadable_clips_count_as_missed(tmp_path, caplog):
    register(tmp_path, TRUTH)
    clips = good_clips()
    clips[1][0]["unreadable"] = "the file ends"
    evaluators = DatasetEvaluators([ActionMetrics(NAME, tmp_path / "out"), UnreadableImages()])
    results = evaluate(evaluators, batches(clips, 3))
    assert results["unreadable"] == {"videos": 1, "clips": 1}
    # two of three, and the false positive is in the unreadable clip
    assert results["actions"]["AP-stand"] == pytest.approx(200 / 3)
    assert "1 clips of 1 test videos could not be read and have no detections" in caplog.text
    assert "videos/a.mp4: the file ends" in caplog.text
    assert "1 of 3 key frames with ground truth were not tested" in caplog.text
    assert "0903" not in (tmp_path / "out" / "action_detections.csv").read_text()
    for sample, _ in clips:
        sample["unreadable"] = "no such disk"
    assert list(evaluate(evaluators, batches(clips))) == ["unreadable"]
    assert "received no readable key frame" in caplog.text


def test_key_frames_that_the_truth_does_not_list(tmp_path, caplog):
    register(tmp_path, TRUTH)
    clips = [*good_clips(), clip("b", 950, (LEFT, {1: 1.0}))]
    with caplog.at_level(logging.INFO):
        official = evaluate(ActionMetrics(NAME), batches(clips))["actions"]
    listed = evaluate(ActionMetrics(NAME), batches(clips[:3]))["actions"]
    assert official["AP-stand"] == listed["AP-stand"]
    assert "4 of 28 detections are left out: at key frames that" in caplog.text
    metrics = evaluate(ActionMetrics(NAME, mode="pyslowfast"), batches(clips))["actions"]
    assert metrics["AP-stand"] == pytest.approx(100 * (3 / 5 + 2 / 3 + 2 / 3) / 3)


def test_excluded_key_frames_and_seconds(tmp_path):
    excluded = tmp_path / "excluded.csv"
    excluded.write_text("a,0903\nother,0001\n")
    register(tmp_path, TRUTH, excluded=str(excluded))
    without = evaluate(ActionMetrics(NAME), batches(good_clips()))
    assert without["actions"]["AP-stand"] == 100
    register(tmp_path, TRUTH, seconds=(900, 902))
    assert repr(evaluate(ActionMetrics(NAME), batches(good_clips()))) == repr(without)
    register(tmp_path, TRUTH, seconds=(904, 1000))
    with pytest.raises(UserError, match="truth.csv: there are no boxes from second 904 to 1000"):
        ActionMetrics(NAME)


@pytest.mark.usefixtures("no_plots")
def test_a_model_without_detections(tmp_path, caplog):
    register(tmp_path, TRUTH)
    clips = [clip("a", 902), clip("a", 903)]
    metrics = evaluate(ActionMetrics(NAME, tmp_path / "out"), batches(clips, 2))["actions"]
    assert metrics["mAP50"] == metrics["AP-stand"] == 0 and math.isnan(metrics["AP-fly"])
    assert "There are no detections at all" in caplog.text
    assert (tmp_path / "out" / "action_detections.csv").read_text() == ""


def panels(path):
    """Return the images of predictions and ground truth, without captions, as int arrays."""
    pixels = np.asarray(Image.open(path)).astype(int)[34:]
    half = (pixels.shape[1] - 8) // 2
    return pixels[:, :half], pixels[:, -half:]


def saturation(panel, x, y):
    """Return the largest difference of channels around a place, in fractions of the panel."""
    row, column = round(y * panel.shape[0]), round(x * panel.shape[1])
    return np.ptp(panel[row - 4 : row + 5, column - 4 : column + 5], axis=2).max()


@pytest.mark.usefixtures("no_plots")
def test_pictures_contain_predictions_and_ground_truth(tmp_path):
    register(tmp_path, [("a", 902, LEFT, [1]), ("b", 902, RIGHT, [3])])
    region = (0.5, 0, 1, 1)  # the clip of b contains only the right half
    clips = [
        clip("a", 902, (LEFT, {1: 0.9, 3: 0.6}), (RIGHT, {1: 0.4})),
        clip("b", 902, (LEFT, {3: 0.9}), (RIGHT, {3: 0.9}), region=region),
    ]
    clips[0][0]["inputs"][:, 2, :, 30:] = 1  # the middle frame is brighter on the right
    evaluate(ActionMetrics(NAME, tmp_path / "out", pixel_mean=[0.5] * 3), batches(clips))
    folder = tmp_path / "out" / "pictures"
    first, second = sorted(folder.glob("0*_*_902.png"), key=lambda path: path.name[3:])
    assert (folder / "overview.png").exists()

    found, truth = panels(first)
    assert found.shape == (480, 720, 3)  # enlarged
    assert [panel[470, 700, 0] for panel in (found, truth)] == [185, 185]
    assert [panel[470, 20, 0] for panel in (found, truth)] == [128, 128]
    assert saturation(found, 0.05, 0.7) > 100 and saturation(truth, 0.05, 0.7) > 100
    # a false positive: a gray box
    assert saturation(found, 0.95, 0.7) == 0 and found[336, 684 - 6 : 684 + 6].std() > 20
    assert truth[336, 684 - 6 : 684 + 6].std() == 0
    # one panel of text each, but "stand 90 %, dance 60 %" is longer than "stand"
    dark = [(panel[:, :400].max(axis=2) < 60).sum() for panel in (found, truth)]
    assert dark[0] > 1.5 * dark[1] > 0

    found, truth = panels(second)
    for panel in (found, truth):
        assert saturation(panel, 0.1, 0.5) > 100 and saturation(panel, 0.9, 0.5) > 100
        assert saturation(panel, 0.5, 0.5) == 0


def test_metrics_are_returned_if_files_cannot_be_written(tmp_path, caplog):
    register(tmp_path, TRUTH)
    expected = evaluate(ActionMetrics(NAME), batches(good_clips()))
    (tmp_path / "file").write_text("")
    metrics = evaluate(ActionMetrics(NAME, tmp_path / "file" / "out"), batches(good_clips()))
    assert repr(metrics) == repr(expected)
    assert "official format could not be written to" in caplog.text
    assert caplog.text.count("could not be written") == 3


def test_errors(tmp_path):
    with pytest.raises(UserError, match=f"{NAME}.* has no ground truth to evaluate against"):
        ActionMetrics(NAME)
    register(tmp_path, TRUTH)
    with pytest.raises(UserError, match="mode='mmaction'.* official, pyslowfast"):
        ActionMetrics(NAME, mode="mmaction")
    with pytest.raises(UserError, match="num_pictures=0"):
        ActionMetrics(NAME, num_pictures=0)
    metrics = ActionMetrics(NAME)
    (sample, scores), other = good_clips()[:2]
    with pytest.raises(UserError, match="scores for 2 of 1 clips"):
        metrics.process({key: [value] for key, value in sample.items()}, [scores, scores])
    for wrong, message in (
        (scores[:1], r"a, second 902: the model returns scores of shape \(1, 6\) for 2 boxes"),
        (scores[:, :5], "a, second 902: the model has 5 outputs, but actions up to id 6"),
        (scores * math.nan, "a, second 902: the scores are not all finite"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(metrics, batches([other, (sample, wrong)]))
    register(tmp_path, [("a", 902, LEFT, [2])])
    with pytest.raises(UserError, match="none of the 1 boxes has one of the 4 evaluated actions"):
        ActionMetrics(NAME)
