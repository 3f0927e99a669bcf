"""Crops of COCO objects: sizes and margins, places of backgrounds, and faults."""

import logging
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvit_det.data import image_classes, image_files
from mvit_det.data.detection.crops import BACKGROUND, crop_objects
from mvit_det.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
OBJECT, GROUND = 220, 30  # grey values


@pytest.fixture
def scenes(toy):
    """Give each grey picture of 64 x 48 of the toy set one white object of 20 x 16 at x = 4."""
    for image in toy.coco["images"]:
        pixels = np.full((48, 64, 3), GROUND, np.uint8)
        pixels[10:26, 4:24] = OBJECT
        Image.fromarray(pixels).save(toy.root / image["file_name"])
    toy.annotations[:] = [a for a in toy.annotations if a["category_id"] == 3]
    toy.annotations[0]["category_id"] = 7
    return toy


def crops(folder: Path) -> dict[str, np.ndarray]:
    """Read all crops: {class/file: grey pixels}."""
    return {
        str(path.relative_to(folder)): np.asarray(Image.open(path).convert("L"))
        for path in sorted(folder.rglob("*.jpg"))
    }


def test_objects_are_cropped_with_their_margin(scenes, tmp_path):
    counts = crop_objects(*scenes.arguments(), tmp_path / "out", margin=0.1, background=False)
    assert counts == {"fig": 1, "date": 11}
    written = crops(tmp_path / "out")
    assert sorted(written) == [f"date/{i:03d}-0.jpg" for i in range(2, 13)] + ["fig/001-0.jpg"]
    for pixels in written.values():
        # 20 + 2 * 0.1 * 20 pixels a side, from (2, 6) on
        assert pixels.shape == (24, 24)
        inside = np.zeros((24, 24), bool)
        inside[4:20, 2:22] = True
        assert pixels[inside].mean() > OBJECT - 10 and pixels[~inside].mean() < GROUND + 10


def test_crops_stay_inside_the_picture(scenes, tmp_path):
    scenes.annotations[0]["bbox"] = [50, 30, 20, 16]  # beyond the right edge, which is at 64
    scenes.annotations[1]["bbox"] = [1, 1, 60, 40]  # with its margin higher than the picture
    crop_objects(*scenes.arguments(), tmp_path / "out", margin=0.1, background=False)
    written = crops(tmp_path / "out")
    assert written["fig/001-0.jpg"].shape == (24, 24)
    assert written["date/002-0.jpg"].shape == (48, 48)


def test_backgrounds_overlap_no_object(scenes, tmp_path):
    counts = crop_objects(*scenes.arguments(), tmp_path / "out", margin=0.1)
    assert counts == {"fig": 1, "date": 11, BACKGROUND: 6}  # as many as an average class
    for name, pixels in crops(tmp_path / "out").items():
        if name.startswith(BACKGROUND):
            assert pixels.shape == (24, 24) and pixels.max() < GROUND + 10
    dataset = image_classes(tmp_path / "out")
    assert dataset.classes == [BACKGROUND, "date", "fig"]
    assert np.bincount(dataset.labels).tolist() == [6, 11, 1]


def test_pictures_without_free_places_get_no_background(scenes, tmp_path):
    for annotation in scenes.annotations[:6]:
        annotation["bbox"] = [0, 0, 64, 48]
    counts = crop_objects(*scenes.arguments(), tmp_path / "out")
    # Other pictures compensate for them.
    assert counts[BACKGROUND] == 6
    names = [path.name[:3] for path in (tmp_path / "out" / BACKGROUND).iterdir()]
    assert min(names) == "007"


def test_pictures_without_objects_give_backgrounds_too(scenes, tmp_path):
    del scenes.annotations[6:]
    crop_objects(*scenes.arguments(), tmp_path / "out")
    names = {path.name[:3] for path in (tmp_path / "out" / BACKGROUND).iterdir()}
    assert names & {"007", "008", "009", "010", "011", "012"}


def test_size_and_seed(scenes, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        crop_objects(*scenes.arguments(), tmp_path / name, size=40, seed=seed)
    first, again, other = (crops(tmp_path / name) for name in "abc")
    assert {pixels.shape for pixels in first.values()} == {(40, 40)}
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    objects = [name for name in first if not name.startswith(BACKGROUND)]
    assert len(objects) == 12
    assert all(np.array_equal(first[name], other[name]) for name in objects)


def test_crowds_faults_and_tiny_boxes_are_left_out(scenes, tmp_path):
    scenes.annotations[0]["iscrowd"] = 1
    scenes.annotations[1]["bbox"] = [5, 5, 0, 9]
    scenes.annotations[2]["bbox"] = [5, 5, 7, 7]
    counts = crop_objects(*scenes.arguments(), tmp_path / "out", background=False)
    assert counts == {"fig": 0, "date": 9}


def test_unreadable_pictures_are_skipped_and_logged(scenes, tmp_path, caplog):
    (scenes.root / "003.png").write_bytes(b"not a picture")
    (scenes.root / "004.png").unlink()
    Image.new("RGB", (10, 10)).save(scenes.root / "005.png")
    with caplog.at_level(logging.WARNING, logger="mvit_det"):
        counts = crop_objects(*scenes.arguments(), tmp_path / "out", background=False)
    assert counts == {"fig": 1, "date": 8}
    (text,) = [record.getMessage() for record in caplog.records]
    assert text.startswith("3 images cannot be read: 003.png (the file is not a picture")
    assert "005.png (10x10 pixels, but 64x48 in the annotations)" in text


def test_faulty_arguments(scenes, tmp_path):
    arguments = scenes.arguments()
    out = tmp_path / "out"
    with pytest.raises(UserError, match="margin=-1 of crop_objects must be from 0"):
        crop_objects(*arguments, out, margin=-1)
    with pytest.raises(UserError, match="No image of .* can be read below .*: correct the folder"):
        crop_objects(arguments[0], tmp_path / "elsewhere", out)
    with pytest.raises(UserError, match="no usable box of 100 pixels"):
        crop_objects(*arguments, out, min_side=100)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write the crops to .*: name a folder that is wri"):
        crop_objects(*arguments, tmp_path / "file" / "out")
    for name, sentence in (
        (BACKGROUND, "a class named .*: rename it"),
        ("a/b", "names of folders"),
    ):
        scenes.coco["categories"][0]["name"] = name
        with pytest.raises(UserError, match=sentence):
            crop_objects(*scenes.arguments(), out)
    assert not list(tmp_path.glob("*out*"))
    out.mkdir()
    with pytest.raises(UserError, match="out exists already: remove it"):
        crop_objects(*arguments, out)


@pytest.mark.parametrize("refused", [True, False])
def test_a_class_that_cannot_be_the_name_of_a_folder(scenes, tmp_path, monkeypatch, refused):
    """Windows refuses a:b, and changes names such as "b."."""
    mkdir = Path.mkdir

    def as_on_windows(self, *more, **options):
        if ":" in self.name and refused:
            raise OSError(22, "The directory name is invalid", str(self))
        mkdir(self.with_name(self.name.replace(":", "")), *more, **options)

    scenes.coco["categories"][0]["name"] = "a:b"
    monkeypatch.setattr(Path, "mkdir", as_on_windows)
    with pytest.raises(UserError, match="'?a:b'? cannot be (the )?names? of (a )?folders? on this"):
        crop_objects(*scenes.arguments(), tmp_path / "crops")
    assert not (tmp_path / "crops").exists()


def test_the_script(scenes, tmp_path, monkeypatch, capsys):
    json_file, images = scenes.arguments()
    out = str(tmp_path / "out")
    script = str(ROOT / "datasets" / "crops_from_coco.py")
    deep = np.full((48, 64), 257 * OBJECT, np.uint16)
    Image.fromarray(deep).save(Path(images) / "001.png")
    arguments = ["--json", json_file, "--images", images, "--output", out, "--no-background"]
    arguments += ["--value-range", "0", "65535"]
    monkeypatch.setattr(image_files, "_current", image_files.current_pictures())  # restored
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    monkeypatch.setattr(sys, "path", list(sys.path))  # the script adds to it
    runpy.run_path(script, run_name="__main__")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["1", f"{out}/fig"], ["11", f"{out}/date"]]
    assert abs(crops(tmp_path / "out")["fig/001-0.jpg"].mean() - OBJECT) < 3
    with pytest.raises(SystemExit, match="out exists already: remove it"):
        runpy.run_path(script, run_name="__main__")


def test_a_picture_under_two_ids_keeps_all_its_crops(scenes, tmp_path):
    scenes.coco["images"][1]["file_name"] = scenes.coco["images"][2]["file_name"]
    crop_objects(*scenes.arguments(), tmp_path / "out", background=False)
    assert {"date/003-0.jpg", "date/003-1.jpg"} < set(crops(tmp_path / "out"))
