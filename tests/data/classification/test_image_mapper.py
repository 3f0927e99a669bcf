"""Image mapper: pictures of every kind from files and tar files, and bad ones."""

import io
import os
import pickle

import numpy as np
import pytest
import torch
from image_sets import PICTURES, write_tar
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from mvit_det.data import ImageMapper, image_classes
from mvit_det.errors import UserError


def as_tensor(picture: Image.Image) -> torch.Tensor:
    assert picture.mode == "RGB"
    return pil_to_tensor(picture.resize((32, 24))).float()


def drawing(picture: Image.Image) -> torch.Tensor:
    return torch.rand(3, 4, 4) + as_tensor(picture).mean()


def make_mapper(is_train=True, **options):
    return ImageMapper(is_train, transform=options.pop("transform", as_tensor), **options)


def pixels() -> np.ndarray:
    ramp = np.linspace(20, 230, 32)[None, :, None] * np.linspace(0.5, 1, 24)[:, None, None]
    return (ramp * [1, 0.8, 0.6]).astype(np.uint8)


def stored(folder, image: Image.Image, ending: str, **options) -> dict:
    image.save(folder / f"x.{ending}", **options)
    return {"file_name": str(folder / f"x.{ending}"), "label": 3}


KINDS = {
    "grey": (lambda i: i.convert("L"), "png"),
    "palette": (lambda i: i.quantize(64), "png"),
    "RGBA": (lambda i: i.convert("RGBA"), "png"),
    "grey with alpha": (lambda i: i.convert("LA"), "png"),
    "1 bit": (lambda i: i.convert("1"), "png"),
    "CMYK": (lambda i: i.convert("CMYK"), "jpg"),
    "GIF": (lambda i: i, "gif"),
    "WebP": (lambda i: i, "webp"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_every_kind(tmp_path, kind):
    convert, ending = KINDS[kind]
    item = stored(tmp_path, convert(Image.fromarray(pixels())), ending)
    sample = make_mapper()(item)
    assert sample.keys() == {"inputs", "labels", "file_name"} and sample["labels"] == 3
    with Image.open(item["file_name"]) as image:
        assert torch.equal(sample["inputs"], as_tensor(image.convert("RGB")))
    assert 40 < sample["inputs"].mean() < 180


def test_pictures_in_a_tar_file(tmp_path):
    shard = write_tar(tmp_path / "a.tar", PICTURES)
    found = image_classes(shard)
    mapper = make_mapper()
    for index in range(len(found)):
        name = os.path.relpath(found[index]["file_name"], shard)
        with Image.open(io.BytesIO(PICTURES[name])) as image:
            expected = as_tensor(image.convert("RGB"))
        assert torch.equal(mapper(found[index])["inputs"], expected)


# ---- bad images


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "png")
    return content.getvalue()


def _huge() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "bmp")
    data = bytearray(content.getvalue())
    data[18:26] = (20000).to_bytes(4, "little") * 2
    return bytes(data)


def _damaged() -> bytes:
    data = bytearray(png(Image.fromarray(pixels())))
    data[60:80] = bytes(20)
    return bytes(data)


BAD = {
    "missing": (None, "does not exist"),
    "web page": (b"<html>not found</html>", "not a picture"),
    "truncated": (PICTURES["cat/a.jpg"][:-60], "truncated"),
    "damaged": (_damaged(), "broken"),
    "16 bit": (png(Image.fromarray(np.full((24, 32), 10**4, np.uint16))), "I;16"),
    "huge": (_huge(), "400000000 pixels"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_image(tmp_path, caplog, fault):
    content, reason = BAD[fault]
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    item = {"file_name": str(path), "label": 1}
    mapper = make_mapper()
    assert mapper(item) is None and mapper(item) is None
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1  # once per file
    assert f"Image {path} is skipped: " in messages[0] and reason.lower() in messages[0].lower()

    tester = make_mapper(is_train=False)
    tested = tester(item)
    assert reason.lower() in tested["unreadable"].lower() and tested["labels"] == 1
    good = tester(stored(tmp_path, Image.fromarray(pixels()), "png"))
    assert good["unreadable"] is None
    assert tested["inputs"].shape == good["inputs"].shape and not tested["inputs"].any()


def test_too_many_bad_images(tmp_path):
    good = stored(tmp_path, Image.fromarray(pixels()), "png")
    missing = [{"file_name": str(tmp_path / f"{i}.jpg"), "label": 0} for i in range(5)]
    mapper = make_mapper(max_bad_share=0.5, min_seen=4)
    assert mapper(good) is not None and mapper(missing[0]) is None
    assert mapper(good) is not None and mapper(missing[0]) is None  # 1 of 2
    with pytest.raises(UserError, match=r"^2 of the 3 images .*=0.5 .*0.jpg: .*the data set"):
        mapper(missing[1])
    mapper = make_mapper()
    assert [mapper(item) for item in missing[:4]] == [None] * 4
    with pytest.raises(UserError, match="^5 of the 5 images"):
        mapper(missing[4])
    tester = make_mapper(is_train=False, max_bad_share=0.0, min_seen=1)
    assert all(tester(item)["unreadable"] for item in missing)  # evaluations continue


def test_an_error_in_the_transform_is_not_a_bad_image(tmp_path):
    item = stored(tmp_path, Image.fromarray(pixels()), "png")
    with pytest.raises(RuntimeError, match="x.png reads well, but its transform failed: ZeroDiv"):
        make_mapper(transform=lambda picture: 1 / 0)(item)


# ---- repetition


def test_repeated_samples_differ_but_are_read_once(tmp_path, monkeypatch):
    item = stored(tmp_path, Image.fromarray(pixels()), "png")
    opened, real = [], Image.open
    monkeypatch.setattr(Image, "open", lambda file, **how: opened.append(file) or real(file, **how))
    samples = make_mapper(transform=drawing).repeated(item, 3)
    assert len(opened) == 1 and [sample["labels"] for sample in samples] == [3, 3, 3]
    assert len({sample["inputs"].sum().item() for sample in samples}) == 3
    assert make_mapper().repeated({"file_name": "no.jpg", "label": 0}, 3) is None


def test_mapper_can_be_pickled(tmp_path):
    item = stored(tmp_path, Image.fromarray(pixels()), "png")
    mapper = pickle.loads(pickle.dumps(make_mapper()))
    assert torch.equal(mapper(item)["inputs"], make_mapper()(item)["inputs"])


@pytest.mark.parametrize("exif_transpose", [False, True])
def test_exif_orientation_is_applied_only_on_request(exif_transpose, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees for display
    picture = Image.new("RGB", (40, 20), "red")
    picture.paste("blue", (0, 0, 20, 20))
    picture.save(tmp_path / "photo.png", exif=exif)
    pictures = []
    mapper = ImageMapper(False, transform=lambda p: pictures.append(p) or torch.zeros(3, 2, 2))
    mapper.exif_transpose = exif_transpose
    mapper({"file_name": str(tmp_path / "photo.png"), "label": 0})
    assert pictures[-1].size == ((20, 40) if exif_transpose else (40, 20))
    # The left half, or after a clockwise rotation the upper half, is blue.
    assert pictures[-1].getpixel((2, 2)) == pictures[-1].getpixel((2, 17)) == (0, 0, 255)
