"""Person boxes from files and from a detector, and their options on the command line."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from people_scenes import ACTIONS, CONFIG, frames_of, predict, read
from predict_scenes import moving

from mvit_det.ava_files import read_boxes
from mvit_det.detection import GeneralizedRCNN
from mvit_det.errors import UserError
from mvit_det.predict import Predictor
from mvit_det.predict.key_clips import key_clips
from mvit_det.predict.person_boxes import BoxFile, PersonFinder, read_any_boxes
from mvit_det.recognition import ActionDetector

pytestmark = pytest.mark.usefixtures("small_pictures")


def test_a_detector_finds_the_people(ava, run, tmp_path, caplog):
    """Its proposals.csv can be given as --boxes the next time, with the same result."""
    caplog.set_level("INFO", logger="mvit_det")
    found, again, other = tmp_path / "found", tmp_path / "again", tmp_path / "other"
    video = ava.videos / "a.avi"
    detector = ("--detector-config", run.config, "--detector-threshold", 0)
    assert predict(ava, found, video, *detector, "--every", 0.9, "--batch-size", 3) == 0
    proposals = read_boxes(found / "proposals.csv", "proposals")
    assert sorted(set(proposals.second)) == [0, 0.9, 1.8] and 3 <= len(proposals) <= 24
    assert (proposals.action == 0).all()
    scores = proposals.score[proposals.second == 0].tolist()
    assert scores == sorted(scores, reverse=True)
    rows, images = read(found)
    assert [image["seconds"] for image in images] == [0, 0.88, 1.76]
    assert [row["box_score"] for row in rows] == pytest.approx(proposals.score.tolist(), abs=1e-6)
    assert "detections.csv, proposals.csv, predictions.json" in caplog.text
    words = ("--boxes", found / "proposals.csv", "--box-threshold", 0)
    assert predict(ava, again, video, *words) == 0
    first, second = (read_boxes(f / "detections.csv", "detections") for f in (found, again))
    np.testing.assert_allclose(second.score, first.score, atol=1e-4)
    np.testing.assert_allclose(second.box, first.box, atol=1e-5)
    assert not (again / "proposals.csv").exists()
    # the key frames are those of the file, the boxes those of the detector and of one class
    words = ("--boxes", ava.boxes, "--detector-class", Predictor(run.config).class_names[0])
    assert predict(ava, other, video, *detector, *words) == 0
    _, images = read(other)
    assert [image["frame"] for image in images] == [0, 6, 12, 18]


@pytest.mark.parametrize("word", ["fp32", "bf16"])
def test_the_precision_is_that_of_the_detector_as_well(word, ava, run, tmp_path, monkeypatch):
    seen = set()

    def spy(module, original):
        def forward(self, batch):
            seen.add((module.__name__, torch.is_autocast_enabled("cpu")))
            return original(self, batch)

        return forward

    for module in (ActionDetector, GeneralizedRCNN):
        monkeypatch.setattr(module, "forward", spy(module, module.forward))
    detector = ("--detector-config", run.config, "--detector-threshold", 0)
    words = ("--every", 0.9, "--precision", word)
    assert predict(ava, tmp_path / "found", ava.videos / "a.avi", *detector, *words) == 0
    enabled = word == "bf16"
    assert seen == {("ActionDetector", enabled), ("GeneralizedRCNN", enabled)}


def test_boxes_equal_those_of_the_detector_on_the_key_frame(ava, run, people_predictor):
    detector = Predictor(run.config)
    finder = PersonFinder(detector, None, 1.0)
    frames = moving(25, seed=4)
    with people_predictor.open(frames, 12.5) as video:
        assert finder.seconds("a", video) == [0.0, 1.0]
        [clip] = key_clips(video, [1.0], people_predictor.inference.sampling)
    boxes, scores = finder.boxes_at("a", clip)
    instances = detector(frames[12])
    np.testing.assert_allclose(scores, instances.scores.numpy())
    pixels = instances.pred_boxes.tensor.numpy() / [96, 72, 96, 72]
    np.testing.assert_allclose(boxes, pixels.clip(0, 1), atol=1e-6)


def test_proposals_without_an_action_detector(ava, run, tmp_path):
    """The boxes equal those found for an action detector; the video consists of key frames."""
    output, other = tmp_path / "out", tmp_path / "other"
    video = ava.videos / "a.avi"
    words = ("--box-threshold", 0, "--boxes", ava.boxes, "--batch-size", 2)
    assert predict(run, output, ava.videos, *words, "--proposals") == 0
    assert predict(ava, other, video, *words, "--detector-config", run.config) == 0
    lines = (output / "proposals.csv").read_text().splitlines()
    of_a = [line for line in lines if line.startswith("a,")]
    assert of_a == (other / "proposals.csv").read_text().splitlines() and len(of_a) < len(lines)
    names = ["a.mp4", "b.mp4", "images.json", "predictions.json", "proposals.csv"]
    assert sorted(path.name for path in output.iterdir()) == names
    rows, images = read(output)
    assert [image["frame"] for image in images] == [0, 6, 12, 18, 12, 31]
    assert len(rows) == len(read_boxes(output / "proposals.csv", "proposals"))
    assert set(rows[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}
    assert len(frames_of(output / "a.mp4")) == 4
    assert predict(run, tmp_path / "whole", video, "--proposals") == 0
    assert not (tmp_path / "whole" / "proposals.csv").exists()  # all scores are too low
    with pytest.raises(UserError, match="--config-file is the detector: drop --detector-config"):
        predict(run, output, video, "--proposals", "--detector-config", run.config)


def test_proposals_below_the_threshold_and_the_start_of_a_movie(ava, tmp_path, caplog):
    boxes = tmp_path / "proposals.csv"
    boxes.write_text(
        "a,0901,0.1,0.1,0.5,0.9,,0.95\na,0901,0.4,0.2,0.9,0.9,,0.7\na,0901,0.4,0.5,0.4,0.9,,0.9\n"
        "a,0990,0.1,0.1,0.5,0.9,,0.99\na,0900,0.1,0.1,0.5,0.9,,0.5\n"
    )
    video = ava.videos / "a.avi"
    # key frames inside the video are processed, the others reported
    assert predict(ava, tmp_path / "out", video, "--boxes", boxes, "--start", 900) == 1
    assert f"{video}: it lasts 2 s, and has no second 90" in caplog.text
    assert "1 rows have a box without area" in caplog.text
    rows, images = read(tmp_path / "out")
    assert [(row["image_id"], row["box_score"]) for row in rows] == [(2, 0.95)]
    assert [image["seconds"] for image in images] == [0.0, 0.96]
    table = read_boxes(tmp_path / "out" / "detections.csv", "detections")
    assert (table.second == 901).all() and len(table) == len(ACTIONS)
    assert predict(ava, tmp_path / "none", video, "--boxes", boxes) == 1
    assert "no second 900, 901, 990; is --start right" in caplog.text
    assert read(tmp_path / "none") == ([], [])


def test_video_names_with_a_suffix_and_scores_below_the_threshold(ava, tmp_path):
    """Rows of a.avi belong to the video a, as in training."""
    boxes = tmp_path / "proposals.csv"
    boxes.write_text(
        "a.avi,1,0.1,0.1,0.5,0.9,,0.95\na,1.5,0.1,0.1,0.5,0.9,,0.9\na.b,2,0,0,1,1,,1\n"
    )
    file = BoxFile(boxes, 0.8, 0.0)
    assert file.seconds("a", None) == [1.0, 1.5] and file.seconds("a.b", None) == [2.0]
    found = [
        file.boxes_at("a", SimpleNamespace(second=second))[1].tolist() for second in (1.0, 1.5, 2.0)
    ]
    assert found == [[0.95], [0.9], []]
    boxes.write_text("a,1,0.1,0.1,0.5,0.9,,0.3\n")
    with pytest.raises(
        UserError, match="no box with a score of at least --box-threshold 0.8 .*highest is 0.3"
    ):
        predict(ava, tmp_path, ava.videos / "a.avi", "--boxes", boxes)


@pytest.mark.parametrize(
    "rows, kind",
    [
        ("a,1,0,0,1,1,12,0\na,1,0,0,1,1,14,0", "actions"),
        ("a,1,0,0,1,1,12", "actions"),
        ("video,second,x1,y1,x2,y2,action,person\na,1,0,0,1,1,12,1", "actions"),
        ("a,1,0,0,1,1,,0.9\na,2,0,0,1,1,,1", "proposals"),
        ("a,1,0,0,1,1,-1,1", "proposals"),
        ("a,1,0,0,1,1,12,0.95\na,1,0,0,1,1,14,0.95", "proposals"),
        ("a,1,0,0,1,1,12,0.95\na,1,0,0,1,1,14,0.05", "detections"),
        ("a,1", "actions"),
    ],
)
def test_the_kind_of_a_file_of_boxes(tmp_path, rows, kind):
    path = tmp_path / "boxes.csv"
    path.write_text(rows + "\n")
    found, table = read_any_boxes(path)
    assert found == kind and len(table) == rows.count("a,") - (rows == "a,1")


def test_a_file_of_unknown_kind_is_refused_with_all_reasons(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("a,1,0,0,1,1,,0.9\na,1,0,0,1,1,,high\n")
    with pytest.raises(UserError, match="as actions: .*; as proposals: .*line 2.*'high'"):
        read_any_boxes(path)


@pytest.mark.parametrize(
    "words, error",
    [
        ([], "needs boxes of people: give --boxes FILE.csv .* or --detector-config"),
        (["--window", 1, "--boxes", "b.csv"], "--window needs a video classifier"),
        (["--boxes", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--detector-class", "person"], "--detector-class needs --detector-config"),
        (["--boxes", "b.csv", "--every", 2], "--boxes defines the key frames: drop --every"),
        (["--detector-config", CONFIG, "--start", 9], "--start is the second of --boxes"),
        (
            ["--boxes", "b.csv", "--box-threshold", 2],
            "--box-threshold=2.0 of .* must be from 0 to 1",
        ),
        (["--detector-config", "THIS"], "--detector-config .* is not the config of a detector"),
        (
            ["--detector-config", "RUN", "--detector-class", "cat"],
            "cat is not a class of the detector",
        ),
        (["--boxes", "b.csv", "--proposals"], "--proposals needs a detector, .* is not: drop it"),
        (
            ["--detector-config", "RUN", "--every", 0],
            "every=0.0 of PersonFinder must be a number above 0",
        ),
    ],
)
def test_options_that_contradict(ava, run, tmp_path, words, error):
    files = {"THIS": ava.config, "RUN": run.config}
    with pytest.raises(UserError, match=error):
        predict(ava, tmp_path, ava.videos, *(files.get(word, word) for word in words))


def test_boxes_need_an_action_detector(ava, run, tmp_path):
    with pytest.raises(UserError, match="--boxes needs an action detector, .* is not: drop it"):
        predict(run, tmp_path, ava.videos, "--boxes", ava.boxes)
