"""Ids of pictures and classes from a COCO file."""

import json
from pathlib import Path

import pytest

from mvit_det.errors import UserError
from mvit_det.evaluation import __main__ as evaluation
from mvit_det.predict import __main__ as command
from mvit_det.predict.coco_ids import coco_ids

pytestmark = pytest.mark.usefixtures("small_pictures")
DOG, CAT = {"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}


def write(path: Path, images, categories=(("cat", 3), ("dog", 9)), used=()) -> str:
    content = dict(
        images=[dict(file_name=name, id=k, width=64, height=48) for name, k in images],
        categories=[dict(name=name, id=k) for name, k in categories],
        annotations=[
            dict(id=1 + k, image_id=image, category_id=categories[0][1], bbox=[5, 5, 20, 20])
            for k, image in enumerate(used)
        ],
    )
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    "images, expected",
    [
        ([("b.jpg", 7), ("a.jpg", 5)], [5, 7]),
        ([("x/b.jpg", "two"), ("x/a.jpg", "one")], ["one", "two"]),  # another folder
        ([("p/a.jpg", 5), ("q/a.jpg", 6), ("a.jpg", 7), ("b.jpg", 8)], [5, 8]),
        ([("q/a.jpg", 6), ("/q/p/a.jpg", 5), ("../p/b.jpg", 8), ("z/p/a.jpg", 9)], None),
        ([("p\\a.jpg", 5), ("./b.jpg", 8)], [5, 8]),
        ([("a.jpg", 5), ("a.jpg", 4), ("b.jpg", 8)], [4, 8]),  # 4 has annotations
    ],
)
def test_pictures_are_found_by_file_name(tmp_path, images, expected):
    path = write(tmp_path / "ids.json", images, used=[4])
    paths = [Path("p/a.jpg"), Path("p/b.jpg")]
    if expected is None:
        with pytest.raises(UserError, match=r"1 of 2 pictures under several ids \(p/a.jpg: 6, 5"):
            coco_ids(path, paths, [DOG, CAT])
        return
    ids, categories = coco_ids(path, paths, [DOG, CAT])
    assert list(ids.items()) == list(zip(paths, expected))
    assert categories == [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}]


@pytest.mark.parametrize(
    "images, categories, message",
    [
        ([("c.jpg", 1)], [("dog", 1)], r"lacks 2 of 2 pictures \(p/a.jpg, q/a.jpg\): leave"),
        ([("p/a.jpg", 1), ("q/a.jpg", 2)], [("cat", 1)], r"lacks 1 of 1 classes .*\(dog\): leave"),
        ([("a.jpg", 4)], [("dog", 1)], r"has one entry \(id 4\) for both q/a.jpg and p/a.jpg"),
        (
            [("p/a.jpg", 1), ("q/a.jpg", 2)],
            [("dog", 4), ("dog", 2)],
            r"1 of 1 classes of the model under several ids \(dog: 4, 2\): keep one",
        ),
    ],
)
def test_what_the_file_does_not_say(tmp_path, images, categories, message):
    path = write(tmp_path / "ids.json", images, categories)
    with pytest.raises(UserError, match=message):
        coco_ids(path, [Path("p/a.jpg"), Path("q/a.jpg")], [DOG])


def test_two_classes_of_one_name_keep_the_ids_of_the_training(tmp_path):
    path = write(tmp_path / "ids.json", [], [("dog", 1), ("dog", 2)])
    trained = [{"id": 2, "name": "dog"}, {"id": 1, "name": "dog"}]
    assert coco_ids(path, [], trained) == ({}, trained)


@pytest.mark.parametrize("content", ["[]", '{"images": [{"id": 1}], "categories": []}', "{}"])
def test_other_files(tmp_path, content):
    path = tmp_path / "ids.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"ids.json is not a COCO file \(.*: it needs 'images'"):
        coco_ids(str(path), [], [])


def test_results_are_evaluated_against_the_file(run, inputs, tmp_path, caplog):
    """They were measured against other pictures, without a word: image 1 is b.png here."""
    shapes = ["cross", "star", "triangle", "square", "circle"]
    categories = [(name, 10 + k) for k, name in enumerate(shapes)]
    names = [("b.png", 1), ("inputs/a.jpg", 2), ("below/a.jpg", 3)]
    truth = write(tmp_path / "truth.json", names, categories, used=[2])
    pictures = [inputs / "a.jpg", inputs / "b.png", inputs / "below"]
    output = tmp_path / "out"
    line = ["--config-file", str(run.config), *map(str, pictures), "--output", str(output)]
    line += ["--ids-from", truth, "--score-threshold", "0.05"]
    assert command.run_command(line, "predict") == 0
    images = json.loads((output / "images.json").read_text())
    assert [Path(image["file_name"]).name for image in images["images"]] == [
        "a.jpg",
        "b.png",
        "a.jpg",
    ]
    assert [image["id"] for image in images["images"]] == [2, 1, 3]
    assert {k["name"]: k["id"] for k in images["categories"]} == dict(categories)
    results = output / "predictions.json"
    assert {entry["image_id"] for entry in json.loads(results.read_text())} == {1, 2, 3}
    evaluation.run_command(["--ground-truth", truth, "--results", str(results)], "evaluate")
    with pytest.raises(SystemExit, match="ids of pictures, but .*clip.avi is a video: leave it"):
        command.run_command([*line, str(inputs / "clip.avi")], "predict")
