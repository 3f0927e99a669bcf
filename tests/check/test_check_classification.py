"""The check of images in class folders and in tar files."""

import io
import tarfile

import numpy as np
import pytest
from check_runs import check, found
from PIL import Image

TINY = ["model.backbone.embed_dim=16", "dataloader.train.num_workers=0"]
ORIENTATION = 0x0112


def picture(seed: int, side: int = 48, **options) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, options.pop("format", "jpeg"), **options)
    return content.getvalue()


@pytest.mark.parametrize("tars", [False, True], ids=["folders", "tar files"])
def test_planted_faults_are_found_and_nothing_more(tmp_path, tars):
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    train = {
        f"{name}/{k}.jpg": picture(10 * k + len(name)) for name in ("a", "bb") for k in range(4)
    }
    train |= {"ccc/0.jpg": picture(100), "ccc/1.jpg": picture(101)[:-300]}
    val = {
        "a/0.jpg": picture(200, exif=exif),
        "bb/1.jpg": picture(201),
        "bb/2.jpg": picture(202, 8),
    }
    for split, files in (("train", train), ("val", val)):
        if not tars:
            for name, content in files.items():
                path = tmp_path / split / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            continue
        (tmp_path / split).mkdir()
        with tarfile.open(tmp_path / split / "all.tar", "w") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    status, report = check(
        tmp_path / "out",
        "quickstart_classification.py",
        *(f"--train-images {tmp_path}/train --val-images {tmp_path}/val").split(),
        *TINY,
        "dataloader.test.mapper.exif_transpose=false",
    )
    assert status == 1
    names = ("all.tar", "ccc/1.jpg"), ("all.tar", "a/0.jpg"), ("all.tar", "bb/2.jpg")
    if not tars:
        names = ("1.jpg",), ("0.jpg",), ("2.jpg",)
    rows = [
        ("error", "cut picture", *names[0]),
        ("warning", "EXIF orientation", *names[1]),
        ("note", "small picture", *names[2]),
        ("warning", "class in one split", "", "ccc"),
    ]
    assert [row for row in found(report) if row[1] != "data set"] == sorted(rows)
    (logged,) = [x["message"] for x in report["findings"] if x["kind"] == "data set"]
    assert "1 of the 3 classes have no image" in logged
