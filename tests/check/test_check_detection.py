"""The check of annotated pictures: planted faults are found, and nothing more."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from check_runs import TINY, check, found
from PIL import Image

from mvit_det.data.synthetic.shapes import generate_shapes

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """{train,val}/annotations.json and images; none of the pictures is like another."""
    folder = tmp_path_factory.mktemp("clean")
    for seed, (name, count) in enumerate((("train", 20), ("val", 6))):
        options = dict(image_size=128, object_size=(30, 60), max_objects=4)
        generate_shapes(folder / name, count, seed=seed, **options)
    return folder


def flags(folder: Path) -> list[str]:
    splits = [(split, folder / split) for split in ("train", "val")]
    named = [
        (f"--{split}-json", root / "annotations.json", f"--{split}-images", root / "images")
        for split, root in splits
    ]
    return [str(word) for part in named for word in part]


def contents(folder: Path) -> dict[Path, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_clean_data_have_no_finding(clean, tmp_path):
    status, report = check(tmp_path, "quickstart.py", "--strict", *flags(clean), *TINY)
    assert (status, report["findings"], report["files"]) == (0, [], {"train": 20, "test": 6})
    assert [path.name for path in tmp_path.iterdir()] == ["check.json"]


def test_ten_planted_faults_are_found_and_nothing_more(clean, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(clean, data)
    folder, file = data / "train/images", data / "train/annotations.json"
    coco = json.loads(file.read_text())
    images = coco["images"]
    paths = [folder / image["file_name"] for image in images]
    first = {image["id"]: [] for image in images}
    for annotation in coco["annotations"]:
        first[annotation["image_id"]].append(annotation)
    of = [first[image["id"]][0] for image in images]  # an annotation of each picture

    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-400])
    paths[2].write_text("<html>not found</html>")
    Image.open(paths[3]).resize((100, 100)).save(paths[3])
    picture, exif = Image.open(paths[4]).convert("RGB").crop((0, 0, 128, 100)), Image.Exif()
    exif[ORIENTATION] = 6
    picture.save(paths[4], exif=exif)
    images[4]["height"] = 100
    coco["annotations"] = [a for a in coco["annotations"] if a not in first[images[4]["id"]]]
    of[5]["bbox"] = [500, 10, 20, 20]
    of[6]["segmentation"] = [[10, 10, 20, 20]]
    of[7]["segmentation"] = {"size": [128, 128], "counts": "0"}
    x, y, w, h = of[8]["bbox"]
    of[8]["bbox"] = [(x + 60) % 70, (y + 60) % 70, w, h]
    copy = (
        data
        / "val/images"
        / json.loads((data / "val/annotations.json").read_text())["images"][0]["file_name"]
    )
    grey = np.asarray(Image.open(paths[9]).convert("RGB").resize((64, 64)))
    Image.fromarray(grey).resize((128, 128)).save(copy)
    file.write_text(json.dumps(coco))

    before = contents(data)
    status, report = check(tmp_path / "out", "quickstart.py", *flags(data), *TINY)
    assert status == 1
    name, ids = [path.name for path in paths], [image["id"] for image in images]
    assert [row for row in found(report) if row[0] != "note"] == sorted(
        [
            ("error", "missing file", name[0], ids[0]),
            ("error", "cut picture", name[1], ids[1]),
            ("error", "unreadable picture", name[2], ids[2]),
            ("error", "picture of another size", name[3], ids[3]),
            ("error", "EXIF orientation", name[4], ids[4]),
            ("error", "box outside the image", file.name, ids[5], of[5]["id"]),
            (
                "error",
                "polygon of fewer than 3 points or of odd length",
                file.name,
                *(ids[6], of[6]["id"]),
            ),
            ("error", "empty mask", file.name, ids[7], of[7]["id"]),
            ("warning", "box unlike its mask", file.name, ids[8], of[8]["id"]),
            ("warning", "near-duplicate", copy.name),
        ]
    )
    assert contents(data) == before
    sheets = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert {"cut_picture", "box_outside_the_image", "near_duplicate"} <= sheets
    assert "missing_file" not in sheets


def test_row_16_the_check_lists_every_bad_file(clean, tmp_path):
    """A truncated, an empty and a missing picture, and a page of HTML; no iteration is run."""
    shutil.copytree(clean, tmp_path / "data")
    paths = sorted((tmp_path / "data/train/images").iterdir())[:4]
    paths[0].write_bytes(paths[0].read_bytes()[:-400])
    paths[1].write_bytes(b"")
    paths[2].unlink()
    paths[3].write_text("<!DOCTYPE html><p>Log in</p>")
    status, report = check(tmp_path / "out", "quickstart.py", *flags(tmp_path / "data"), *TINY)
    kinds = ["cut picture", "unreadable picture", "missing file", "unreadable picture"]
    listed = {row[2]: row[:2] for row in found(report) if row[0] == "error"}
    assert (status, listed) == (1, {p.name: ("error", k) for p, k in zip(paths, kinds)})


def test_all_faults_of_annotations_and_config_are_reported_at_once(clean, tmp_path):
    file = tmp_path / "annotations.json"
    coco = json.loads((clean / "train/annotations.json").read_text())
    bad = coco["annotations"][:4]
    bad[0]["bbox"] = [1, 2, 3]
    bad[1]["category_id"] = 77
    bad[2]["iscrowd"] = "maybe"
    bad[3]["segmentation"] = {"size": [3, 3], "counts": [9]}
    coco["annotations"][5]["id"] = coco["annotations"][6]["id"]
    coco["images"][0]["width"] = 0
    file.write_text(json.dumps(coco))
    words = flags(clean)
    words[1] = str(file)
    status, report = check(tmp_path / "out", "quickstart.py", *words, *TINY)
    assert status == 1
    kinds = {x["kind"] for x in report["findings"] if x["severity"] == "error"}
    assert kinds == {"annotation format"}
    ids = [x["ids"] for x in report["findings"] if x["kind"] == "annotation format"]
    assert {"image_id": coco["images"][0]["id"]} in ids
    for entry in bad:
        assert {"annotation_id": entry["id"]} in ids
    assert any(isinstance(x.get("annotation_id"), list) for x in ids)


def test_all_faults_of_the_config_are_reported_at_once(clean, tmp_path):
    wrong = ["optimizer.lr=-1", "train.seeed=1", "train.log_period=0", "train.device=tpu"]
    status, report = check(tmp_path, "quickstart.py", "--start-only", *flags(clean), *TINY, *wrong)
    messages = " ".join(x["message"] for x in report["findings"])
    assert status == 1
    assert all(word in messages for word in ("lr=-1", "seeed", "log_period=0", "device='tpu'"))


def test_small_objects_twice_annotated_and_beyond_the_picture(clean, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(clean, data)
    file = data / "val/annotations.json"
    coco = json.loads(file.read_text())
    for entry in coco["annotations"]:
        del entry["segmentation"]
    one, two, three = coco["annotations"][:3]
    one["bbox"] = [5, 5, 3, 3]
    two["bbox"] = [100, 100, 60, 20]
    coco["annotations"].append({**three, "id": 9999})
    file.write_text(json.dumps(coco))
    words = [*flags(data), *TINY, "model.masks=false"]
    status, report = check(tmp_path / "out", "quickstart.py", *words)
    assert status == 0
    assert check(tmp_path / "strict", "quickstart.py", "--strict", *words) == (1, report)
    kinds = {row[1:] for row in found(report)}
    image = one["image_id"]
    assert kinds >= {
        ("small object", file.name, image, one["id"]),
        ("small objects", file.name),
        ("box beyond the picture", file.name, two["image_id"], two["id"]),
        ("annotated twice", file.name, three["image_id"], three["id"]),
    }
