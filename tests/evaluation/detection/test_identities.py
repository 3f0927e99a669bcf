"""Results whose ids are not those of the annotation file, as predict writes them."""

import json

import numpy as np
import pytest

from mvit_det.errors import UserError
from mvit_det.evaluation.detection.files import CocoTruth
from mvit_det.evaluation.detection.identities import read_results

BOXES = [[10 * k, 0, 5, 5] for k in range(4)]


@pytest.fixture
def read(tmp_path):
    """Return a function of annotated and predicted files and classes, by id; image k has box k."""

    def run(
        annotated,
        predicted,
        classes=(("fig", 7), ("date", 3)),
        own=(("date", 1), ("fig", 2)),
        key="annotated",
    ):
        truth = dict(
            images=[dict(id=i, file_name=name) for i, name in annotated],
            categories=[dict(id=i, name=name) for name, i in own],
            annotations=[dict(image_id=annotated[0][0], category_id=own[0][1], bbox=BOXES[0])],
        )
        images = dict(
            images=[{"id": i, "file_name": name, key: "x.png"} for i, name in predicted],
            categories=[dict(id=i, name=name) for name, i in classes],
        )
        results = [
            dict(image_id=i, category_id=classes[0][1], bbox=BOXES[k], score=0.9)
            for k, (i, _) in enumerate(predicted)
        ]
        folder = tmp_path / "found"
        folder.mkdir()
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        (folder / "images.json").write_text(json.dumps(images))
        (folder / "predictions.json").write_text(json.dumps(results))
        truth = CocoTruth(tmp_path / "truth.json")
        found = read_results(folder / "predictions.json", truth)
        ids = [truth.image_ids[k] for k in found.image]
        (label,) = set(found.label.tolist())
        assert truth.names[label] == {"class 1": "date"}.get(classes[0][0], classes[0][0])
        return dict(zip(ids, np.array(found.box)[:, 0] // 10))

    return run


def test_pictures_and_classes_are_matched_by_name(read, caplog):
    caplog.set_level("INFO")
    annotated = [(1, "b.jpg"), (2, "a.jpg"), (3, "c.jpg")]
    predicted = [(1, "/data/a.jpg"), (2, "/data/b.jpg"), (3, "/data/other.jpg")]
    assert read(annotated, predicted) == {2: 0, 1: 1}
    assert "2 pictures are matched by name" in caplog.text
    assert "left out, since they are not in it: /data/other.jpg." in caplog.text


def test_the_longest_common_path_counts(read):
    annotated = [("x", "train/1.jpg"), ("y", "val/1.jpg"), ("z", "1.jpg")]
    predicted = [(1, "/data/val/1.jpg"), (2, "/data/test/1.jpg"), (3, "/data/train/1.jpg")]
    assert read(annotated, predicted) == {"y": 0, "z": 1, "x": 2}


def test_the_same_ids_are_not_spoken_of(read, caplog):
    caplog.set_level("INFO")
    same = (("date", 1), ("fig", 2))
    assert read([(1, "a.jpg"), (2, "b.jpg")], [(2, "/d/b.jpg"), (1, "a.jpg")], same) == {2: 0, 1: 1}
    assert "by name" not in caplog.text


def test_another_file_of_that_name_is_not_used(read):
    same = (("date", 1), ("fig", 2))
    swapped = [(1, "b.jpg"), (2, "a.jpg")], [(1, "a.jpg"), (2, "b.jpg")]
    assert read(*swapped, same, key="license") == {1: 0, 2: 1}


def test_a_picture_that_is_listed_again_without_annotations(read):
    assert read([(5, "a.jpg"), (4, "a.jpg")], [(1, "a.jpg")]) == {5: 0}


def test_frames_and_placeholders_keep_their_ids(read):
    frames = [(1, "a.mp4"), (2, "a.mp4")]
    assert read(frames, frames, (("fig", 2),)) == {1: 0, 2: 1}


def test_placeholders_of_classes_keep_their_ids(read):
    assert read([(1, "a.jpg")], [(9, "a.jpg")], (("class 1", 1), ("class 2", 2))) == {1: 0}


@pytest.mark.parametrize(
    "predicted, classes, sentence",
    [
        ([(1, "x.jpg")], (("fig", 1),), r"it does not list any of the pictures \(x.jpg\)"),
        ([(1, "a.jpg"), (2, "d/a.jpg")], (("fig", 1),), "several pictures are image 1"),
        ([(1, "a.jpg")], (("nut", 1),), "has the classes nut, but .* has date, fig"),
    ],
)
def test_what_cannot_be_matched_is_one_sentence(read, predicted, classes, sentence):
    with pytest.raises(UserError, match=sentence):
        read([(1, "a.jpg")], predicted, classes)
