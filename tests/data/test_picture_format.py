"""Image files of more than 8 bits, of many bands or many pixels, for every task that reads them."""

import io
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf
from PIL import Image

from mvit_det import train
from mvit_det.data import ImageMapper, PictureFormat, TolerantMapper, image_files
from mvit_det.data.image_files import check_image_file, current_pictures, use_pictures
from mvit_det.errors import UserError
from mvit_det.predict.pictures import to_bgr

RANGE = (1000, 3000)
# of the sensor, with values outside of the range
VALUES = np.random.default_rng(0).integers(500, 3500, (24, 32, 3)).astype(np.uint16)
EXPECTED = ((VALUES.clip(*RANGE) - 1000) / 2000 * 255).round().astype(np.uint8)
GRAY = np.repeat(EXPECTED[..., :1], 3, axis=2)


@pytest.fixture(autouse=True)
def default_format():
    yield
    use_pictures(None)
    image_files._log_deep_colour.cache_clear()


def _pillow(values: np.ndarray, kind: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, kind)
    return content.getvalue()


def _turned() -> bytes:
    content, image = io.BytesIO(), Image.fromarray(np.rot90(VALUES[..., 0]).copy())
    image.getexif()[0x0112] = 6
    image.save(content, "png", exif=image.getexif())
    return content.getvalue()


def _opencv(suffix: str) -> bytes:
    return cv2.imencode(suffix, VALUES[..., ::-1])[1].tobytes()


DEEP = {
    "16-bit gray PNG": (_pillow(VALUES[..., 0], "png"), GRAY),
    "16-bit gray TIFF": (_pillow(VALUES[..., 0], "tiff"), GRAY),
    "32-bit TIFF": (_pillow(VALUES[..., 0].astype(np.int32), "tiff"), GRAY),
    "float TIFF": (_pillow(VALUES[..., 0].astype(np.float32), "tiff"), GRAY),
    "turned by EXIF": (_turned(), GRAY),
    "16-bit colour PNG": (_opencv(".png"), EXPECTED),
    "16-bit colour TIFF": (_opencv(".tiff"), EXPECTED),
}


def readers(path) -> dict:
    """RGB pixels (H, W, 3) as each task gets them of a file, or the reason why it does not."""
    item = dict(file_name=str(path), image_id=1, annotations=[])
    detection = dict(augmentations=[], image_format="RGB")
    classes = ImageMapper(is_train=False, transform=np.array, exif_transpose=True)
    box = TolerantMapper(is_train=False, **detection)(dict(item, height=24, width=32))
    found = {"detection, test": box.get("unreadable") or box["image"].permute(1, 2, 0).numpy()}
    mapper = TolerantMapper(is_train=True, **detection)
    mapped = mapper(item)
    found["detection, training"] = mapped and mapped["image"].permute(1, 2, 0).numpy()
    try:
        found["classification"] = np.array(classes.read(item))
    except ValueError as error:
        found["classification"] = str(error)
    try:
        found["prediction"] = to_bgr(path, current_pictures())[..., ::-1]
    except UserError as error:
        found["prediction"] = str(error)
    return found


@pytest.mark.parametrize("kind", DEEP)
def test_files_of_more_than_8_bits_are_read_with_the_range(tmp_path, kind):
    content, expected = DEEP[kind]
    path = tmp_path / "a.png"
    path.write_bytes(content)
    use_pictures(PictureFormat(value_range=RANGE))
    check_image_file(str(path))
    for task, pixels in readers(path).items():
        assert np.array_equal(pixels, expected), task


def test_a_picture_of_pillow_and_nan():
    values = np.array([[np.nan, -np.inf, 1500.0, np.inf]], np.float32)
    picture = to_bgr(Image.fromarray(values), PictureFormat(value_range=RANGE))
    assert picture[0, :, 0].tolist() == [0, 0, 64, 255]


def test_without_a_range_gray_is_refused_and_colour_is_said(tmp_path, caplog):
    path = tmp_path / "a.png"
    path.write_bytes(DEEP["16-bit gray PNG"][0])
    for reason in readers(path).values():
        assert reason is None or "fixed range: set dataloader.pictures.value_range" in reason
    path.write_bytes(DEEP["16-bit colour PNG"][0])
    for pixels in readers(path).values():
        assert np.array_equal(pixels, VALUES >> 8)
    said = [r for r in caplog.records if r.name == "mvit_det.data.image_files"]
    assert len(said) == 1 and "16 bits per channel, read with the range 0" in said[0].message


def test_ordinary_files_do_not_depend_on_the_format(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(EXPECTED).save(path)
    use_pictures(PictureFormat(value_range=RANGE, max_pixels=24 * 32))
    for pixels in readers(path).values():
        assert np.array_equal(pixels, EXPECTED)


def test_the_limit_of_pixels(tmp_path, monkeypatch, recwarn):
    path = tmp_path / "a.png"
    Image.fromarray(EXPECTED).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    for format, limit in ((None, 600), (PictureFormat(max_pixels=767), 767)):
        use_pictures(format)
        for reason in readers(path).values():
            sentence = f"its 768 pixels exceed the limit of {limit}: if the file is trusted, raise"
            assert reason is None or sentence in reason
    use_pictures(PictureFormat(max_pixels=768))
    for pixels in readers(path).values():
        assert np.array_equal(pixels, EXPECTED)
    assert Image.MAX_IMAGE_PIXELS == 300 and not recwarn.list


def _tiff(bands: int, bits: int) -> bytes:
    """A TIFF of 2 x 1 pixels, with the tags that describe its pixels."""
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: 1, 277: bands, 278: 1}
    start = 10 + 12 * (len(tags) + 2) + 4
    tags |= {273: start, 279: 2 * bands * bits // 8}
    rows = [struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags)]
    content = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + b"".join(rows) + bytes(4)
    return content + bytes(tags[279])


@pytest.mark.parametrize(
    "content, reason",
    [
        (_tiff(8, 16), "a TIFF of 8 bands of 16 bits cannot be decoded: write three of them"),
        (_tiff(13, 8), "a TIFF of 13 bands of 8 bits cannot be decoded: write three of them"),
        (_pillow(EXPECTED, "png")[:9], "the file is not a picture that can be read"),
    ],
)
def test_the_real_cause_is_named(tmp_path, content, reason):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    use_pictures(PictureFormat(value_range=RANGE))
    with pytest.raises(ValueError, match=reason):
        check_image_file(str(path))
    Image.new("LAB", (3, 3)).save(path)
    with pytest.raises(ValueError, match="colours of type 'LAB' are not known: convert"):
        check_image_file(str(path))


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"value_range": [5, 5]}, "must be two different values"),
        ({"value_range": [9, 5]}, "a smallest and a largest"),
        ({"value_range": 255}, "must be two numbers"),
        ({"max_pixels": 0}, "max_pixels=0 of dataloader.pictures must be a whole number"),
        ({"max_pixels": 1e9}, "max_pixels=1000000000.0 .* must be a whole number"),
    ],
)
def test_keys_of_the_wrong_kind(keys, message):
    with pytest.raises(UserError, match=message):
        PictureFormat(**keys)


@pytest.mark.parametrize("node", [L(PictureFormat)(value_range=[0, 4095]), None])
def test_a_run_uses_the_format_of_its_config(monkeypatch, node):
    cfg = OmegaConf.create({"dataloader": {"pictures": node} if node else {}})
    seen = []
    monkeypatch.setattr(train, "setup", lambda args: (cfg, None))
    monkeypatch.setattr(train, "evaluate", lambda cfg, resume: seen.append(current_pictures()))
    train.main(SimpleNamespace(eval_only=True, resume=False))
    assert seen == [PictureFormat(value_range=[0, 4095] if node else None)]
    mapper = TolerantMapper(is_train=True, augmentations=[], image_format="RGB")
    use_pictures(None)
    assert mapper.pictures == seen[0]  # also where a process of the loader does not inherit it
