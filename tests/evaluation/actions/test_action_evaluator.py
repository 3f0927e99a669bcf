"""The evaluator of actions: numbers by hand, any order and processes, files, pictures, faults."""

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

from mvit_det.ava_files import read_boxes
from mvit_det.errors import UserError
from mvit_det.evaluation import ActionMetrics, UnreadableImages
from mvit_det.evaluation.__main__ import argument_parser, main

NAME = "action_metrics_test"
NAMES = {1: "stand", 3: "dance", 4: "swim", 6: "fly"}  # outputs 2 and 5 are not evaluated
LEFT, RIGHT = (0.05, 0.1, 0.45, 0.9), (0.55, 0.1, 0.95, 0.9)


def register(folder, rows, **metadata):
    """A data set whose ground truth has rows (video, second, box, actions)."""
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


def clip(video, second, *found, part=(0, 0, 1, 1)):
    """A sample and the model's scores, by boxes and {action: score} of each."""
    scores = torch.zeros(len(found), 6)
    for row, (_, actions) in zip(scores, found):
        for action, score in actions.items():
            row[action - 1] = score
    sample = dict(
        inputs=torch.zeros(3, 4, 40, 60),
        video=video,
        second=float(second),
        original_boxes=torch.tensor([box for box, _ in found]).reshape(-1, 4),
        visible_area=torch.tensor(part, dtype=torch.float32),
        file_name=f"videos/{video}.mp4",
        unreadable=None,
    )
    return sample, scores


def evaluate(evaluator, clips, batch_size=1):
    """Results of clips in batches, whose samples are lists as those of whole frames are."""
    evaluator.reset()
    for start in range(0, len(clips), batch_size):
        samples, scores = zip(*clips[start : start + batch_size])
        evaluator.process({key: [s[key] for s in samples] for key in samples[0]}, list(scores))
    return evaluator.evaluate()


TRUTH = [
    ("a", 902, LEFT, [1]),
    ("a", 902, RIGHT, [1, 3]),
    ("a", 903, LEFT, [1, 2]),
    ("b", 902, RIGHT, [3]),
]


def good_clips():
    """Three right for "stand" of three, and one wrong between them; one of two for "dance"."""
    return [
        clip("a", 902, (LEFT, {1: 0.9}), (RIGHT, {1: 0.8, 3: 0.7})),
        clip("a", 903, (LEFT, {1: 0.3, 2: 1.0}), (RIGHT, {1: 0.5})),
        clip("b", 902, (LEFT, {3: 0.9}), (RIGHT, {3: 0.1})),
    ]


def test_numbers_by_hand(tmp_path, caplog):
    register(tmp_path, TRUTH)
    with caplog.at_level(logging.INFO):
        metrics = evaluate(ActionMetrics(NAME), good_clips())["actions"]
    # "stand": right, right, wrong, right; "dance": wrong, right, right
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
    """Clips of a random test, whose truth is registered; scores of one digit occur repeatedly."""
    rng = np.random.default_rng(0)
    rows, clips = [], []
    for number in range(24):
        found = []
        for _ in range(rng.integers(0, 4)):
            corner = rng.random(2) * 0.6
            box = np.concatenate([corner, corner + 0.1 + rng.random(2) * 0.3]).round(3)
            actions = rng.choice(6, rng.integers(1, 3), replace=False) + 1
            rows.append((f"v{number % 3}", 900 + number, tuple(box), actions))
            likely = np.where(np.isin(np.arange(1, 7), actions), 0.6, 0.3)
            scores = (likely + rng.random(6) * 0.4).round(digits)
            moved = (box + rng.normal(0, 0.01, 4)).clip(0, 1)
            found.append((tuple(moved), dict(enumerate(scores.tolist(), 1))))
        clips.append(clip(f"v{number % 3}", 900 + number, *found))
    register(folder, rows)
    return clips


def test_batches_and_order_make_no_difference(tmp_path):
    clips = random_run(tmp_path)
    order = np.random.default_rng(1).permutation(len(clips))
    # samplers may pad with what another process has as well
    again = [clips[index] for index in (*order, *order[:5])]
    first, other = (
        ActionMetrics(NAME, tmp_path / out, num_pictures=2, mode="official") for out in "ab"
    )
    metrics = evaluate(first, clips)
    assert 0 < metrics["actions"]["mAP50"] < 100
    assert repr(evaluate(other, again, batch_size=7)) == repr(metrics)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 6  # 2 key frames, their overview, 2 charts, and the detections
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    slow, fast = (evaluate(ActionMetrics(NAME, mode="pyslowfast"), part) for part in (clips, again))
    assert repr(slow) == repr(fast) != repr(metrics)


def test_one_evaluator_serves_a_whole_training(tmp_path):
    clips = random_run(tmp_path)
    evaluator = ActionMetrics(NAME)
    first, second, again = (evaluate(evaluator, part) for part in (clips, clips[::2], clips))
    assert repr(first) == repr(again) != repr(second)


def test_saved_detections_are_the_evaluated_actions_of_all_boxes(tmp_path):
    register(tmp_path, TRUTH)
    evaluate(ActionMetrics(NAME, tmp_path / "out", num_pictures=1), good_clips()[::-1])
    lines = (tmp_path / "out" / "action_detections.csv").read_text().splitlines()
    assert lines[0] == "a,0902,0.05,0.1,0.45,0.9,1,0.899999976"
    assert len(lines) == 6 * len(NAMES)
    table = read_boxes(tmp_path / "out" / "action_detections.csv", "detections")
    assert set(table.action.tolist()) == set(NAMES)
    assert [table.videos[v] for v in table.video] == ["a"] * 16 + ["b"] * 8
    assert (
        np.float32(table.score[:8]).tolist() == np.float32([0.9, 0, 0, 0, 0.8, 0.7, 0, 0]).tolist()
    )


def test_the_saved_file_gives_the_same_numbers(tmp_path):
    clips = random_run(tmp_path, digits=16)[1:]
    clips.append(clip("v0", 990, (LEFT, {1: 1.0, 3: 1.0})))  # where the truth has nobody
    official = evaluate(ActionMetrics(NAME, tmp_path / "out", num_pictures=1), clips)
    slow = evaluate(ActionMetrics(NAME, mode="pyslowfast"), clips)
    files = [tmp_path / "truth.csv", tmp_path / "out" / "action_detections.csv"]
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{k}: {name}\n" for k, name in NAMES.items()))
    options = ["--actions", files[0], "--results", files[1], "--label-map", names, "--mode"]
    for mode, metrics in (("official", official), ("pyslowfast", slow)):
        again = main(argument_parser().parse_args([*map(str, options), mode]))
        assert repr(again) == repr(metrics) and 0 < metrics["actions"]["mAP50"] < 100
    assert repr(official) != repr(slow)


def test_unreadable_clips_count_as_missed(tmp_path, caplog):
    register(tmp_path, TRUTH)
    clips = good_clips()
    clips[1][0]["unreadable"] = "the file ends"
    evaluators = DatasetEvaluators([ActionMetrics(NAME, tmp_path / "out"), UnreadableImages()])
    results = evaluate(evaluators, clips, batch_size=3)
    assert results["unreadable"] == {"videos": 1, "clips": 1}
    # two of three, and the wrong one is gone
    assert results["actions"]["AP-stand"] == pytest.approx(200 / 3)
    assert "1 clips of 1 test videos could not be read and have no detections" in caplog.text
    assert "videos/a.mp4: the file ends" in caplog.text
    assert "Of 3 key frames with ground truth 1 were not tested" in caplog.text
    assert "0903" not in (tmp_path / "out" / "action_detections.csv").read_text()
    for one, _ in clips:
        one["unreadable"] = "no such disk"
    assert "actions" not in evaluate(evaluators, clips)
    assert "has seen no key frame that could be read" in caplog.text


def test_key_frames_that_the_truth_does_not_name(tmp_path, caplog):
    register(tmp_path, TRUTH)
    clips = [*good_clips(), clip("b", 950, (LEFT, {1: 1.0}))]
    with caplog.at_level(logging.INFO):
        official = evaluate(ActionMetrics(NAME), clips)["actions"]
    assert official["AP-stand"] == evaluate(ActionMetrics(NAME), clips[:3])["actions"]["AP-stand"]
    assert "4 of 28 detections are left out: at key frames that" in caplog.text
    slow = evaluate(ActionMetrics(NAME, mode="pyslowfast"), clips)["actions"]
    assert slow["AP-stand"] == pytest.approx(100 * (3 / 5 + 2 / 3 + 2 / 3) / 3)


def test_excluded_key_frames_and_seconds(tmp_path):
    excluded = tmp_path / "excluded.csv"
    excluded.write_text("a,0903\nother,0001\n")
    register(tmp_path, TRUTH, excluded=str(excluded))
    without = evaluate(ActionMetrics(NAME), good_clips())
    assert without["actions"]["AP-stand"] == 100
    register(tmp_path, TRUTH, seconds=(900, 902))
    assert repr(evaluate(ActionMetrics(NAME), good_clips())) == repr(without)
    register(tmp_path, TRUTH, seconds=(904, 1000))
    with pytest.raises(UserError, match="truth.csv: there are no boxes from second 904 to 1000"):
        ActionMetrics(NAME)


def test_a_model_that_finds_nobody(tmp_path, caplog):
    register(tmp_path, TRUTH)
    clips = [clip("a", 902), clip("a", 903)]
    metrics = evaluate(ActionMetrics(NAME, tmp_path / "out"), clips, batch_size=2)["actions"]
    assert metrics["mAP50"] == metrics["AP-stand"] == 0 and math.isnan(metrics["AP-fly"])
    assert "There are no detections at all" in caplog.text
    assert (tmp_path / "out" / "action_detections.csv").read_text() == ""


def panels(path):
    """Pictures of predictions and of ground truth, without captions, as arrays of ints."""
    pixels = np.asarray(Image.open(path)).astype(int)[34:]
    half = (pixels.shape[1] - 8) // 2
    return pixels[:, :half], pixels[:, -half:]


def coloured(panel, x, y):
    """The largest difference between colours around a place, given as shares of the panel."""
    row, column = round(y * panel.shape[0]), round(x * panel.shape[1])
    return np.ptp(panel[row - 4 : row + 5, column - 4 : column + 5], axis=2).max()


def test_pictures_show_predictions_beside_ground_truth(tmp_path):
    register(tmp_path, [("a", 902, LEFT, [1]), ("b", 902, RIGHT, [3])])
    # of b the clip shows the right half alone
    part = (0.5, 0, 1, 1)
    clips = [
        clip("a", 902, (LEFT, {1: 0.9, 3: 0.6}), (RIGHT, {1: 0.4})),
        clip("b", 902, (LEFT, {3: 0.9}), (RIGHT, {3: 0.9}), part=part),
    ]
    clips[0][0]["inputs"][:, 2, :, 30:] = 1  # the middle frame is brighter on the right
    evaluate(ActionMetrics(NAME, tmp_path / "out", pixel_mean=[0.5] * 3), clips)
    folder = tmp_path / "out" / "pictures"
    first, second = sorted(folder.glob("0*_*_902.png"), key=lambda path: path.name[3:])
    assert (folder / "overview.png").exists()

    found, truth = panels(first)
    assert found.shape == (480, 720, 3)  # enlarged
    assert [panel[470, 700, 0] for panel in (found, truth)] == [185, 185]
    assert [panel[470, 20, 0] for panel in (found, truth)] == [128, 128]
    assert coloured(found, 0.05, 0.7) > 100 and coloured(truth, 0.05, 0.7) > 100
    # nobody is there: no colour of its own, but a box
    assert coloured(found, 0.95, 0.7) == 0 and found[336, 684 - 6 : 684 + 6].std() > 20
    assert truth[336, 684 - 6 : 684 + 6].std() == 0
    # one panel of text each, but "stand 90 %, dance 60 %" is longer than "stand"
    dark = [(panel[:, :400].max(axis=2) < 60).sum() for panel in (found, truth)]
    assert dark[0] > 1.5 * dark[1] > 0

    found, truth = panels(second)
    for panel in (found, truth):
        assert coloured(panel, 0.1, 0.5) > 100 and coloured(panel, 0.9, 0.5) > 100
        assert coloured(panel, 0.5, 0.5) == 0


def test_a_full_disk_costs_files_not_metrics(tmp_path, caplog):
    clips = random_run(tmp_path)
    expected = evaluate(ActionMetrics(NAME), clips)
    (tmp_path / "file").write_text("")
    assert repr(evaluate(ActionMetrics(NAME, tmp_path / "file" / "out"), clips)) == repr(expected)
    assert "official format could not be written to" in caplog.text
    assert caplog.text.count("could not be written") == 3


def test_faults_end_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match=f"{NAME}.* has no ground truth to measure against"):
        ActionMetrics(NAME)
    register(tmp_path, TRUTH)
    with pytest.raises(UserError, match="mode='mmaction'.* official, pyslowfast"):
        ActionMetrics(NAME, mode="mmaction")
    with pytest.raises(UserError, match="num_pictures=0"):
        ActionMetrics(NAME, num_pictures=0)
    metrics = ActionMetrics(NAME)
    (sample, scores), other = good_clips()[:2]
    with pytest.raises(UserError, match="scores for 2 clips of 1"):
        metrics.process({key: [value] for key, value in sample.items()}, [scores, scores])
    for wrong, message in (
        (scores[:1], r"a, second 902: the model gives scores of shape \(1, 6\) for 2 boxes"),
        (scores[:, :5], "a, second 902: the model has 5 outputs, and actions up to id 6"),
        (scores * math.nan, "a, second 902: the scores are not all finite"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(metrics, [other, (sample, wrong)])
    register(tmp_path, [("a", 902, LEFT, [2])])
    with pytest.raises(UserError, match="none of the 1 boxes has one of the 4 evaluated actions"):
        ActionMetrics(NAME)


def _one_of_two(folder):
    rank = comm.get_rank()
    clips = random_run(Path(folder, f"truth{rank}"))
    evaluator = ActionMetrics(NAME, str(Path(folder, "two")), num_pictures=3)
    metrics = evaluate(evaluator, clips[rank::2], batch_size=3)
    Path(folder, f"{rank}.txt").write_text(repr(metrics))
    comm.synchronize()
    os._exit(0)  # at the interpreter's exit gloo's threads may abort the process


@pytest.mark.skipif(torch.cuda.device_count() == 1, reason="needs two GPUs, or none")
def test_two_processes_equal_one(tmp_path):
    clips = random_run(tmp_path)
    alone = evaluate(ActionMetrics(NAME, str(tmp_path / "one"), num_pictures=3), clips)
    launch(_one_of_two, 2, dist_url="auto", args=(str(tmp_path),))
    assert (tmp_path / "0.txt").read_text() == repr(alone)
    assert (tmp_path / "1.txt").read_text() == "{}"
    for name in ("action_detections.csv", "pictures/overview.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
