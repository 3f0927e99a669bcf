"""``python -m mvit_det.evaluation``: metrics, files, and error messages."""

import json
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_scenes import by_pycocotools, scene

from mvit_det.errors import UserError
from mvit_det.evaluation import ClassificationAccuracy
from mvit_det.evaluation.__main__ import argument_parser, main

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("image_id", "category_id", "bbox")


@pytest.fixture
def files(tmp_path):
    """Annotations and results of a scene with masks, and the arguments without --output."""
    truth, results = scene(100, images=8, masks=True)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    paths = ["--ground-truth", tmp_path / "truth.json", "--results", tmp_path / "results.json"]
    return truth, results, list(map(str, paths))


def run(arguments):
    return main(argument_parser().parse_args(arguments))


def official(truth, results, task):
    """Return the 12 metrics of pycocotools in percent."""
    stats = by_pycocotools(truth, results, task).stats * 100
    return [math.nan if value < 0 else value for value in stats]


@pytest.mark.slow
def test_command(files, tmp_path):
    """Start the command; the other tests call `main` in this process."""
    truth, results, arguments = files
    output = tmp_path / "new" / "folder"
    done = subprocess.run(
        [sys.executable, "-m", "mvit_det.evaluation", *arguments, "--output", str(output)],
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = official(truth, results, "segm")
    numbers = json.loads((output / "coco_metrics.json").read_text())
    written = [v for k, v in numbers.items() if k.startswith("segm/")][:12]
    assert [math.nan if v is None else v for v in written] == pytest.approx(expected, nan_ok=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("| masks"))
    assert [float(cell) for cell in line.split("|")[2:-1]] == pytest.approx(
        expected, abs=0.0051, nan_ok=True
    )


def test_metrics_and_files_of_boxes_and_masks(files, tmp_path):
    truth, results, arguments = files
    output = tmp_path / "new" / "folder"
    metrics = run([*arguments, "--output", str(output)])
    for task in ("bbox", "segm"):
        values = list(metrics[task].values())[:12]
        assert values == pytest.approx(official(truth, results, task), abs=1e-10, nan_ok=True)
    written = json.loads((output / "coco_metrics.json").read_text())
    # to the last bit, and NaN as null
    assert written == {
        f"{task}/{name}": None if math.isnan(value) else value
        for task in metrics
        for name, value in metrics[task].items()
    }
    for name in ("precision_recall.png", "confusion.png"):
        assert (output / "pictures" / name).stat().st_size > 10_000


def test_an_error_is_one_line_on_the_command_line(files, tmp_path, monkeypatch):
    arguments = [*files[2][:3], str(tmp_path / "absent.json")]
    monkeypatch.delitem(sys.modules, "mvit_det.evaluation.__main__")
    monkeypatch.setattr(sys, "argv", ["mvit_det.evaluation", *arguments])
    with pytest.raises(SystemExit, match="^error: Result file .*absent.json does not exist"):
        runpy.run_module("mvit_det.evaluation", run_name="__main__")


def test_results_with_only_boxes_or_only_masks(files, tmp_path):
    truth, results, arguments = files
    for result in results:
        del result["segmentation"]
    Path(arguments[3]).write_text(json.dumps(results))
    metrics = run(arguments)
    assert list(metrics) == ["bbox"]
    expected = official(truth, results, "bbox")
    assert list(metrics["bbox"].values())[:12] == pytest.approx(expected, abs=1e-10, nan_ok=True)

    _, results = scene(100, images=8, masks=True)
    Path(arguments[3]).write_text(json.dumps([{**r, "bbox": None} for r in results]))
    with pytest.raises(UserError, match="entry 0 has bbox=None"):
        run(arguments)
    bare = [{k: v for k, v in r.items() if k != "bbox"} for r in results]
    Path(arguments[3]).write_text(json.dumps(bare))
    metrics = run(arguments)
    expected = official(truth, results, "segm")
    assert list(metrics["segm"].values())[:12] == pytest.approx(expected, abs=1e-10, nan_ok=True)


def test_polygons_and_uncompressed_rle(files):
    truth, _, arguments = files
    image = truth["images"][0]
    square = [[10, 10, 40, 10, 40, 40, 10, 40]]
    box = dict(image_id=image["id"], category_id=truth["categories"][0]["id"])
    box.update(bbox=[10, 10, 30, 30])
    truth["annotations"] = [dict(box, id=1, area=900, iscrowd=0, segmentation=square)]
    Path(arguments[1]).write_text(json.dumps(truth))
    column = image["height"]
    counts = [10 * column + 10, *[30, column - 30] * 29, 30]
    counts.append(column * image["width"] - sum(counts))
    plain = dict(size=[image["height"], image["width"]], counts=counts)
    Path(arguments[3]).write_text(json.dumps([dict(box, score=1.0, segmentation=plain)]))
    assert run(arguments)["segm"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize("kind, sentence", [
    ("corners", "truth.json: 1 of 1 boxes reach beyond their pictures, and all look like x1, y1,"),
    ("shares", "truth.json: all 1 boxes lie within 0 and 1 and look like shares of the picture"),
    ("crowds", "truth.json: 1 of 1 annotations have iscrowd=1, so that they are neither"),
    ("good", ""),
    ("no size", ""),
    ("no image", ""),
])  # fmt: skip
def test_suspicious_ground_truth_is_said(kind, sentence, files, caplog):
    truth, results, arguments = files
    first, image = truth["annotations"][0], truth["images"][0]
    width, height = image["width"], image["height"]
    first.update(image_id=image["id"], bbox=[5, 5, 9, 9], iscrowd=0)
    truth["annotations"] = [first]
    if kind in ("corners", "no size"):
        first["bbox"] = [width - 9, height - 9, width, height]
    if kind == "no size":
        del image["width"]
        for each in [first, *results]:
            del each["segmentation"]
    first.update({
        "shares": dict(bbox=[0.1, 0.1, 0.2, 0.2]),
        "crowds": dict(iscrowd=1),
        "no image": dict(image_id=999),
    }.get(kind, {}))  # fmt: skip
    Path(arguments[1]).write_text(json.dumps(truth))
    Path(arguments[3]).write_text(json.dumps(results))
    run(arguments)
    assert sentence in caplog.text
    assert any(word in caplog.text for word in ("look like", "iscrowd=1")) == bool(sentence)


def test_annotations_that_cannot_be_evaluated_are_counted(files, caplog):
    truth, results, arguments = files
    first, second, third = truth["annotations"][:3]
    first["segmentation"], second["image_id"] = [], 999
    third["segmentation"] = [[1, 2]]
    Path(arguments[1]).write_text(json.dumps(truth))
    run(arguments)
    total = len(truth["annotations"])
    assert f"1 of {total} annotations are left out: the file does not list" in caplog.text
    assert f"2 of {total - 1} annotations have no valid mask" in caplog.text


def changed(results, **entries):
    """Change entries of the third result; None removes an entry."""
    other = {**results[2], **entries}
    return [*results[:2], {k: v for k, v in other.items() if v is not None}, *results[3:]]


RESULT_FAULTS = {
    "no list": (lambda r: dict(results=r), "contains a dict instead of a list"),
    "empty": (lambda r: [], "is an empty list"),
    "no object": (lambda r: [*r, 3], "entry .* is not an object"),
    "no score": (lambda r: changed(r, score=None), "entry 2 has no 'score': add it"),
    "no image": (lambda r: changed(r, image_id=None), "entry 2 has no 'image_id'"),
    "word score": (lambda r: changed(r, score="high"), "entry 2 has score='high'"),
    "nan score": (lambda r: changed(r, score=math.nan), "entry 2 has score=nan"),
    "other image": (
        lambda r: changed(r, image_id=999),
        "entry 2 has image_id 999, which .*json",
    ),
    "list as image": (lambda r: changed(r, image_id=[1]), r"image_id \[1\], which"),
    "other class": (lambda r: changed(r, category_id="cat"), "category_id 'cat', which .*json"),
    "three sides": (lambda r: changed(r, bbox=[1, 2, 3]), r"entry 2 has bbox=\[1, 2, 3\]"),
    "endless box": (lambda r: changed(r, bbox=[1, 2, 3, math.inf]), "entry 2 has bbox"),
    "no shape": (lambda r: changed(r, bbox=None, segmentation=None), "entry 2 has neither"),
    "a mask less": (lambda r: changed(r, segmentation=None), "entry 2 has no mask"),
    "broken mask": (
        lambda r: changed(r, segmentation=dict(size=[150, 170], counts=5)),
        "entry 2 has an invalid mask",
    ),
    "mask of another size": (
        lambda r: changed(r, segmentation=dict(size=[9, 9], counts="11")),
        r"its size is \[9, 9\], the image's \[150, 170\]",
    ),
}


@pytest.mark.parametrize("fault", RESULT_FAULTS)
def test_errors_in_results(files, fault):
    _, results, arguments = files
    change, message = RESULT_FAULTS[fault]
    Path(arguments[3]).write_text(json.dumps(change(results)))
    with pytest.raises(UserError, match=message) as caught:
        run(arguments)
    assert arguments[3] in str(caught.value) and "\n" not in str(caught.value)


def truth_without(truth, key):
    return {k: v for k, v in truth.items() if k != key}


TRUTH_FAULTS = {
    "no categories": (lambda t: truth_without(t, "categories"), "lacks 'categories'"),
    "no annotations": (lambda t: truth_without(t, "annotations"), "no 'annotations'"),
    "a list": (lambda t: [t], "lacks 'images', 'categories'"),
    "no images": (lambda t: {**t, "images": []}, "'images' is empty"),
    "twice": (lambda t: {**t, "images": t["images"] * 2}, "'images' has more than one .* id"),
    "nameless": (lambda t: {**t, "categories": [dict(id=1)]}, "'name'"),
    "mixed ids": (lambda t: {**t, "images": [*t["images"], dict(id="a")]}, "all numbers or all"),
    "no box": (
        lambda t: {**t, "annotations": [dict(t["annotations"][0], bbox=None, segmentation=[])]},
        "has no 'bbox'",
    ),
}


@pytest.mark.parametrize("fault", TRUTH_FAULTS)
def test_errors_in_annotation_files(files, fault):
    truth, _, arguments = files
    change, message = TRUTH_FAULTS[fault]
    Path(arguments[1]).write_text(json.dumps(change(truth)))
    with pytest.raises(UserError, match=message) as caught:
        run(arguments)
    assert arguments[1] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("which", [1, 3])
@pytest.mark.usefixtures("no_plots")
def test_errors_of_paths(files, tmp_path, which):
    _, _, arguments = files
    good = arguments[which]
    for path, message in (("absent.json", "does not exist"), ("", "cannot be read as text")):
        arguments[which] = str(tmp_path / path)
        with pytest.raises(UserError, match=message):
            run(arguments)
    (tmp_path / "broken.json").write_text('[{"image_id": 1, ')
    arguments[which] = str(tmp_path / "broken.json")
    with pytest.raises(UserError, match="not valid JSON: line 1, column"):
        run(arguments)
    arguments[which] = good
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "coco_metrics.json").mkdir()  # a name that cannot be written
    with pytest.raises(UserError, match="coco_metrics.json cannot be written"):
        run([*arguments, "--output", str(tmp_path / "full")])
    assert not list((tmp_path / "full").glob("*.tmp"))
    with pytest.raises(UserError, match="is a file: give a folder"):
        run([*arguments, "--output", good])


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """Metrics and output folder of a `ClassificationAccuracy`; one class has no image."""
    folder = tmp_path_factory.mktemp("classified")
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(8, (50,), generator=generator)
    scores = torch.rand(50, 9, generator=generator)
    scores[torch.arange(50), labels] += 0.3
    names = [f"photo{number}.jpg" for number in range(50)]
    evaluator = ClassificationAccuracy(output_dir=str(folder))
    batch = dict(inputs=torch.rand(50, 3, 8, 8), labels=labels, file_name=names)
    evaluator.process(batch, scores)
    return evaluator.evaluate(), folder


def test_saved_predictions_give_the_same_metrics(classified, tmp_path):
    metrics, folder = classified
    predictions = str(folder / "classification_predictions.npz")
    again = run(["--predictions", predictions, "--output", str(tmp_path)])
    assert repr(again) == repr(metrics) and math.isnan(again["classification"]["top1-8"])
    written = json.loads((tmp_path / "classification_metrics.json").read_text())
    assert list(written) == [f"classification/{name}" for name in metrics["classification"]]
    for name in ("class_accuracy.csv", "pictures/confusion.png", "pictures/class_accuracy.png"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_options_that_do_not_fit_together(files, classified, tmp_path):
    _, _, arguments = files
    predictions = ["--predictions", str(classified[1] / "classification_predictions.npz")]
    for given in ([], arguments[:2], arguments[2:], arguments + predictions):
        with pytest.raises(UserError, match="Give either --ground-truth FILE and --results FILE"):
            run(given)
    with pytest.raises(UserError, match="Give either"):
        run(arguments[:2] + predictions)
    with pytest.raises(UserError, match="--label-map, --mode belong to --actions"):
        run([*predictions, "--mode", "official", "--label-map", "names.txt"])
    with pytest.raises(UserError, match="is a file: give a folder"):
        run([*predictions, "--output", predictions[1]])
    np.savez(tmp_path / "other.npz", label=np.arange(3))
    with pytest.raises(
        UserError, match="other.npz is not a file of predictions: it lacks class_names"
    ):
        run(["--predictions", str(tmp_path / "other.npz")])


@pytest.mark.parametrize("value", [dict(area=None), dict(iscrowd="0"), dict(iscrowd=None)])
@pytest.mark.usefixtures("no_plots")
def test_values_of_the_wrong_kind_do_not_change_the_metric(files, value):
    truth, _, arguments = files
    truth["annotations"] = [{**a, "iscrowd": 0} for a in truth["annotations"]]
    found = [dict({k: a[k] for k in KEYS}, score=1.0) for a in truth["annotations"]]
    changed = {**truth, "annotations": [{**a, **value} for a in truth["annotations"]]}
    Path(arguments[1]).write_text(json.dumps(changed))
    Path(arguments[3]).write_text(json.dumps(found))
    assert run(arguments)["bbox"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.usefixtures("no_plots")
def test_more_objects_than_count(files, caplog, masks):
    """300 objects of a class in an image, detected perfectly; the limit of COCO is 100."""
    _, _, arguments = files
    places = [[20 * (k % 20), 20 * (k // 20), 10, 10] for k in range(300)]
    square = [[(x, y), (x + 9, y), (x + 9, y + 9), (x, y + 9)] for x, y, _, _ in places]
    objects = [dict(image_id=7, category_id=1, bbox=box) for box in places]
    if masks:
        for item, corners in zip(objects, square):
            item["segmentation"] = [np.ravel(corners).tolist()]
    truth = dict(
        images=[dict(id=7, file_name="7.png", width=400, height=300)],
        categories=[dict(id=1, name="cell")],
        annotations=objects,
    )
    Path(arguments[1]).write_text(json.dumps(truth))
    Path(arguments[3]).write_text(json.dumps([{**item, "score": 0.9} for item in objects]))
    task = "segm" if masks else "bbox"
    assert run(arguments)[task]["AP"] == pytest.approx(33.7, abs=0.1)
    assert (
        "up to 300 objects of a class in an image ('cell' in image 7), but only the 100 best"
        in (caplog.text)
    )
    caplog.clear()
    metrics = run([*arguments, "--max-detections", "300"])[task]
    assert metrics["AP"] == metrics["AR300"] == pytest.approx(100) and "AR100" not in metrics
    assert "objects of a class" not in caplog.text
    with pytest.raises(UserError, match="--max-detections 9 must be 100 or more"):
        run([*arguments, "--max-detections", "9"])


@pytest.mark.usefixtures("no_plots")
def test_two_categories_of_one_name_have_an_ap_each(files):
    truth, _, arguments = files
    ids = sorted(category["id"] for category in truth["categories"])
    for category in truth["categories"][:2]:
        category["name"] = "same"
    Path(arguments[1]).write_text(json.dumps(truth))
    twins = {f"AP-same ({category['id']})" for category in truth["categories"][:2]}
    names = {name for name in run(arguments)["bbox"] if name.startswith("AP-")}
    assert len(names) == len(ids) and twins < names
