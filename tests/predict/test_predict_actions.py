"""A config of an action detector in `Predictor` and on the command line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import instantiate
from people_scenes import ACTIONS, LEFT, RIGHT, SECONDS, frames_of, predict, read
from PIL import Image
from predict_scenes import moving, write_video

from mvit_det.ava_files import read_boxes
from mvit_det.data.decoding.reader import VideoError, VideoFile
from mvit_det.engine import apply_overrides
from mvit_det.errors import UserError
from mvit_det.evaluation.drawing.boxes import class_colour
from mvit_det.predict import Predictor
from mvit_det.predict import __main__ as command
from mvit_det.predict.key_frames import visible_people
from mvit_det.tasks.actions import People

pytestmark = pytest.mark.usefixtures("small_pictures")


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("crop", ["center", "full"])
def test_equals_an_evaluation(ava, crop):
    change = f"dataloader.test.mapper.transform.crop={crop}"
    predictors = [Predictor(ava.config, overrides=[change], batch_size=n) for n in (1, 2)]
    expected = {}
    for batch in instantiate(apply_overrides(ava.cfg.copy(), [change]).dataloader.test):
        with torch.no_grad():
            scores = predictors[0].model(batch)
        found = zip(batch["file_name"], batch["second"], batch["original_boxes"], scores)
        expected.update({(Path(name).stem, second): rest for name, second, *rest in found})
    assert list(expected) == [(name, s) for name, seconds in SECONDS.items() for s in seconds]
    for boxes, scores in expected.values():
        assert boxes.shape == (2, 4) and scores.shape == (2, 6)
    for predictor in predictors:
        for name, seconds in SECONDS.items():
            boxes = {second: expected[name, second][0].numpy() for second in seconds[::-1]}
            found = predictor.actions(ava.videos / f"{name}.avi", boxes)
            assert [people.second for people in found] == seconds
            for people in found:
                close(people.scores, expected[name, people.second][1])
    (first, second), (third, *_) = expected["a", 0.0][1], expected["a", 1.5][1]
    assert min((first - second).abs().max(), (first - third).abs().max()) > 1e-3


def test_fields_of_people(ava, people_predictor):
    frames = moving(25, seed=1)
    boxes = {1.0: [LEFT, RIGHT], 0.47: np.zeros((0, 4)), 2: [RIGHT]}
    none, both, last = people_predictor.actions(frames, boxes, fps=12.5)
    places = [(people.second, people.frame) for people in (none, both, last)]
    assert places == [(0.47, 5), (1, 12), (2, 24)]
    assert none.scores.shape == (0, 6) and both.scores.shape == (2, 6) and both.size == (72, 96)
    assert np.array_equal(both.boxes, [LEFT, RIGHT]) and np.isnan(both.box_scores).all()
    [alone] = people_predictor.actions(frames, {1.0: [RIGHT]}, fps=12.5)
    close(alone.scores, both.scores[1:])
    [slow] = people_predictor.actions(frames, {1.0: [RIGHT]}, fps=6)
    assert slow.frame == 6 and (slow.scores - alone.scores).abs().max() > 1e-3


@pytest.mark.parametrize(
    "boxes, error",
    [
        ({}, "not nothing"),
        ([LEFT], "person boxes by seconds, such as .* not list"),
        ({1.0: [[10, 20, 50, 60]]}, r"boxes\[1.0\] has \[10.0, .*divide pixels by its width"),
        ({1.0: [LEFT, [0.5, 0.1, 0.4, 0.2]]}, r"has \[0.5, 0.1, 0.4, 0.2\]: .* x1 < x2"),
        ({1.0: [[0.1, 0.2, float("nan"), 0.5]]}, "a box must be x1, y1, x2, y2"),
        ({1.0: [[0.1, 0.2, 0.3]]}, r"must be \(N, 4\), not of shape \(1, 3\)"),
        ({1.0: [LEFT], 7.5: [LEFT]}, r"a.avi cannot be used: it lasts 2 s, and has no second 7.5"),
        ({-1.5: [LEFT]}, "has no second -1.5"),
    ],
)
def test_invalid_boxes(ava, people_predictor, boxes, error):
    with pytest.raises(UserError, match=error):
        people_predictor.actions(ava.videos / "a.avi", boxes)


def test_calls_of_another_task(ava, people_predictor, run):
    with pytest.raises(UserError, match=r"detects actions: use .actions\(video, boxes\)"):
        people_predictor("a.mp4")
    with pytest.raises(UserError, match="Windows need a video classifier"):
        people_predictor.over_time("a.mp4")
    with pytest.raises(UserError, match="Person boxes need an action detector"):
        Predictor(run.config).actions("a.mp4", {1.0: [LEFT]})
    with pytest.raises(UserError, match="Video no.mp4 cannot be used: the file does not exist"):
        people_predictor.actions("no.mp4", {1.0: [LEFT]})


def test_names_of_actions(ava, tmp_path):
    assert Predictor(ava.config).class_names == list(ACTIONS.values())
    label_map = tmp_path / "map.pbtxt"
    label_map.write_text('item {\n  name: "sit"\n  id: 6\n}\n')
    predictor = Predictor(ava.config, class_names=label_map)
    assert predictor.categories == [{"id": 6, "name": "sit"}]
    label_map.write_text("7: fly")
    with pytest.raises(UserError, match="Actions with the ids 7 were named, but the model has 6"):
        Predictor(ava.config, class_names=str(label_map))
    with pytest.raises(UserError, match="2 class names were given, but the model has 6 classes"):
        Predictor(ava.config, class_names=["sit", "fly"])


def test_command_line(ava, people_predictor, tmp_path, caplog):
    caplog.set_level("INFO", logger="mvit_det")
    output = tmp_path / "out"
    words = ("--boxes", ava.boxes, "--batch-size", 2, "--score-threshold", 0.4)
    assert predict(ava, output, ava.videos, *words) == 0
    names = ["a.mp4", "b.mp4", "detections.csv", "images.json", "predictions.json"]
    assert sorted(path.name for path in output.iterdir()) == names
    table = read_boxes(output / "detections.csv", "detections")
    assert table.videos == ["a", "b"] and len(table) == 5 * 2 * len(ACTIONS)
    rows, images = read(output)
    seconds = [0.0, 0.5, 1.0, 1.5, 1.0, 2.9]
    assert [image["frame"] for image in images] == [0, 6, 12, 18, 12, 31]
    by_image = {image["id"]: [] for image in images}
    for row in rows:
        by_image[row["image_id"]].append(row)
    assert [len(found) for found in by_image.values()] == [2, 0, 2, 2, 2, 2]
    given = {name: {second: [LEFT, RIGHT] for second in SECONDS[name]} for name in "ab"}
    for name, boxes in given.items():
        for people in people_predictor.actions(ava.videos / f"{name}.avi", boxes):
            chosen = (table.video == "ab".index(name)) & (table.second == people.second)
            for box, scores in zip((LEFT, RIGHT), people.scores.tolist()):
                same = chosen & (table.box == box).all(axis=1)
                assert table.action[same].tolist() == list(ACTIONS)
                named = [scores[k - 1] for k in ACTIONS]
                assert table.score[same].tolist() == pytest.approx(named, abs=1e-5)
                image = images[seconds.index(people.second, 4 * (name == "b"))]
                [row] = [r for r in by_image[image["id"]] if r["bbox"][0] == round(box[0] * 96, 2)]
                best = sorted((score for score in named if score >= 0.4), reverse=True)
                assert [c["score"] for c in row["classes"]] == pytest.approx(best, abs=1e-5)
                assert all(c["name"] == ACTIONS[c["category_id"]] for c in row["classes"])
    assert "a.avi: 4 key frames, 6 boxes; mostly: " in caplog.text
    assert (
        "Wrote 2 annotated videos (57 frames), detections.csv, predictions.json and images.json "
        f"to {output}: 10 boxes, with the actions of score >= 0.4."
    ) in caplog.text


def test_people_outside_the_centre_crop(ava, tmp_path, caplog):
    """The model sees the frame from x = 0.13 to 0.88."""
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("a,1,0,0.1,0.12,0.9,1,0\na,1,0,0.1,0.14,0.9,1,1\na,1,0.89,0.1,1,0.9,1,2\n")
    words = (ava.videos / "a.avi", "--boxes", boxes)
    assert predict(ava, tmp_path / "out", *words) == 0
    assert "2 boxes are outside the part of the frame" in caplog.text
    caplog.clear()
    assert predict(ava, tmp_path / "all", *words, "dataloader.test.mapper.transform.crop=full") == 0
    assert "outside the part" not in caplog.text


def test_boxes_are_drawn_from_their_key_frame_to_the_next(ava, tmp_path):
    write_video(tmp_path / "a.avi", count=25, fps=12.5, size=(240, 320))
    assert predict(ava, tmp_path / "out", tmp_path / "a.avi", "--boxes", ava.boxes) == 0
    frames = frames_of(tmp_path / "out" / "a.mp4").astype(int)
    height, width = frames.shape[1:3]
    colour = np.array(class_colour(0))
    # on the left side of the first box; at 0.5 s, from frame 6 on, the file lists nobody
    line = frames[:, height * 2 // 3, round(LEFT[0] * width) - 1 : round(LEFT[0] * width) + 2]
    drawn = (np.abs(line - colour).max(axis=-1) < 60).any(axis=1)
    assert len(drawn) == 25 and height == 240
    assert np.flatnonzero(~drawn).tolist() == list(range(6, 12))


def test_visible_people():
    def key(second, frame):
        return People(second, frame, (4, 4), np.zeros((0, 4)), torch.zeros(0, 6), np.zeros(0))

    keys, times = [key(2.0, 20), key(4.5, 45), key(7.0, 70)], np.arange(320) / 10
    frames = [people and people.frame for people in visible_people(keys, times)]
    assert frames == [None] * 20 + [20] * 25 + [45] * 25 + [70] * 25 + [None] * 225
    # in a long gap they disappear
    frames = [people and people.frame for people in visible_people([*keys, key(30.0, 300)], times)]
    assert frames[94:96] + frames[299:301] == [70, None, None, 300]
    frames = visible_people(keys[:1], times)
    assert frames[29] is keys[0] and frames[30] is None


def test_faulty_inputs(ava, tmp_path, caplog):
    folder = tmp_path / "in"
    shutil.copytree(ava.videos, folder)
    (folder / "broken.mp4").write_bytes(b"no video" * 50)
    shutil.copy(folder / "a.avi", folder / "c.avi")
    Image.fromarray(moving(1, seed=0)[0]).save(folder / "only.png")
    assert predict(ava, tmp_path / "out", folder, "--boxes", ava.boxes) == 1
    assert f"{folder / 'only.png'}: a picture, and this config's model takes videos" in caplog.text
    assert f"{folder / 'broken.mp4'}: the file cannot be opened as a video" in caplog.text
    assert (
        f"{folder / 'c.avi'}: {ava.boxes} has no rows of a video 'c', only of a, b: the first "
    ) in caplog.text
    assert len(read(tmp_path / "out")[1]) == 6
    shutil.copy(folder / "a.avi", folder / "a.mkv")
    with pytest.raises(UserError, match="Several videos have the name a, which identifies them"):
        predict(ava, tmp_path / "again", folder, "--boxes", ava.boxes)


def test_a_folder_of_frames_is_a_video(ava, tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    for number, frame in enumerate(frames_of(ava.videos / "a.avi")):
        Image.fromarray(frame).save(folder / f"{number:03}.png")
    words = ("--boxes", ava.boxes, "dataloader.test.dataset.fps=12.5")
    assert predict(ava, tmp_path / "out", folder, *words) == 0
    assert predict(ava, tmp_path / "file", ava.videos / "a.avi", *words) == 0
    first, second = ((tmp_path / n / "detections.csv").read_text() for n in ("out", "file"))
    assert first == second


def test_damaged_key_frames_are_skipped(ava, tmp_path, monkeypatch, caplog):
    """Frame 12 cannot be decoded, which only the clip around 1 s contains."""
    frames = VideoFile.frames

    def damaged(self, indices):
        if 12 in list(indices):
            raise VideoError("frame 12 cannot be decoded")
        return frames(self, indices)

    monkeypatch.setattr(VideoFile, "frames", damaged)
    video = ava.videos / "a.avi"
    assert predict(ava, tmp_path, video, "--boxes", ava.boxes, "--batch-size", 4) == 1
    assert f"{video}: second 1 is skipped, frame 12 cannot be decoded, frame 12 can" in caplog.text
    rows, images = read(tmp_path)
    assert [image["frame"] for image in images] == [0, 6, 18] and len(rows) == 4
    assert len(read_boxes(tmp_path / "detections.csv", "detections")) == 4 * len(ACTIONS)
    assert len(frames_of(tmp_path / "a.mp4")) == 12


def test_a_stopped_run_keeps_its_results(ava, tmp_path, monkeypatch):
    class Stopping(command.StopRequest):
        """Requested as soon as there are results for two key frames."""

        requested = property(lambda self: 2 if len(done) >= 2 else None, lambda self, value: None)

    done = []
    predict_people = Predictor.people

    def counted(self, *arguments):
        for people in predict_people(self, *arguments):
            done.append(people)
            yield people

    monkeypatch.setattr(command, "StopRequest", Stopping)
    monkeypatch.setattr(Predictor, "people", counted)
    assert predict(ava, tmp_path, ava.videos, "--boxes", ava.boxes) == 130
    rows, images = read(tmp_path)
    assert [image["frame"] for image in images] == [0, 6] and len(rows) == 2
    assert len(read_boxes(tmp_path / "detections.csv", "detections")) == 2 * len(ACTIONS)


def test_a_file_name_that_is_not_utf8(ava, tmp_path, caplog):
    caplog.set_level("INFO", logger="mvit_det")
    video, boxes = tmp_path / "caf\udce9.avi", tmp_path / "boxes.csv"
    shutil.copy(ava.videos / "a.avi", video)
    boxes.write_bytes(ava.boxes.read_bytes().replace(b"a,", b"caf\xe9,"))
    assert predict(ava, tmp_path / "out", video, "--boxes", boxes) == 0
    assert "caf\\xe9.avi: 4 key frames" in caplog.text.encode().decode()
    table = read_boxes(tmp_path / "out" / "detections.csv", "detections")
    assert table.videos == ["caf\udce9"]
