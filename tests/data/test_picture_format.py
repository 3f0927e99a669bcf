"""Image files of more than 8 bits, of many bands or many pixels, for every task that reads them."""

import io
import struct
import zlib
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
    use_pictures(PictureFormat())
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
def test_row_25_files_of_more_than_8_bits_are_read_with_the_range(tmp_path, kind):
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


@pytest.mark.parametrize("kind", [kind for kind in DEEP if "colour" not in kind])
def test_row_25_without_a_range_gray_is_refused(tmp_path, kind):
    path = tmp_path / "a.png"
    path.write_bytes(DEEP[kind][0])
    for reason in readers(path).values():
        assert reason is None or "fixed range: set dataloader.pictures.value_range" in reason


def test_row_25_without_a_range_colour_is_said(tmp_path, caplog):
    path = tmp_path / "a.png"
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


def test_row_27_the_limit_of_pixels(tmp_path, monkeypatch, recwarn):
    path = tmp_path / "a.png"
    Image.fromarray(EXPECTED).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    for format, limit in ((PictureFormat(), 600), (PictureFormat(max_pixels=767), 767)):
        use_pictures(format)
        for reason in readers(path).values():
            sentence = f"its 768 pixels exceed the limit of {limit}: if the file is trusted, raise"
            assert reason is None or sentence in reason
    use_pictures(PictureFormat(max_pixels=768))
    for pixels in readers(path).values():
        assert np.array_equal(pixels, EXPECTED)
    assert Image.MAX_IMAGE_PIXELS == 300 and not recwarn.list


def tiff(
    values: np.ndarray,
    *,
    planar: int = 1,
    predictor: int = 1,
    rows: int = 5,
    tile: int | None = None,
    order: str = "<",
    deflate: bool = True,
) -> bytes:
    """A TIFF of values (H, W, C) in strips of ``rows`` rows, or in square tiles."""
    height, width, count = values.shape
    side = tile or width
    planes = [values] if planar == 1 else list(values[..., None].transpose(2, 0, 1, 3))
    parts = []
    for plane in planes:
        for top in range(0, height, tile or rows):
            for left in range(0, width, side):
                part = plane[top : top + (tile or rows), left : left + side]
                if tile:
                    gap = [(0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)]
                    part = np.pad(part, gap)
                if predictor == 2:
                    bits = part.view(f"u{part.itemsize}")
                    bits = np.diff(bits, axis=1, prepend=np.zeros_like(bits[:, :1]))
                    part = bits.view(part.dtype)
                data = np.ascontiguousarray(part)
                data = (data if order == "<" else data.byteswap()).tobytes()
                parts.append(zlib.compress(data) if deflate else data)
    kind = dict(u=1, i=2, f=3)[values.dtype.kind]
    tags = {256: [width], 257: [height], 258: [8 * values.itemsize] * count, 262: [1]}
    tags |= {259: [8 if deflate else 1], 277: [count], 284: [planar], 317: [predictor]}
    tags |= {339: [kind] * count, 338: [0] * (count - 1)}
    places, sizes = (324, 325) if tile else (273, 279)
    tags |= {322: [tile], 323: [tile]} if tile else {278: [rows]}
    tags |= {places: [0] * len(parts), sizes: [len(part) for part in parts]}
    start = 8 + 2 + 12 * len(tags) + 4
    ends = np.cumsum([start + sum(4 * len(v) for v in tags.values()), *tags[sizes]])
    tags[places] = ends[:-1].tolist()
    directory, extra = struct.pack(order + "H", len(tags)), b""
    for tag, numbers in sorted(tags.items()):
        encoded = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(encoded) > 4:
            extra, encoded = extra + encoded, struct.pack(order + "I", start + len(extra))
        directory += struct.pack(order + "HHI", tag, 4, len(numbers)) + encoded.ljust(4, b"\0")
    magic = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    gap = bytes(ends[0] - start - len(extra))
    return magic + directory + bytes(4) + extra + gap + b"".join(parts)


def _tiff(bands: int, bits: int) -> bytes:
    return tiff(np.zeros((2, 3, bands), f"u{bits // 8}"))


WAYS = {
    "plain": dict(deflate=False),
    "strips": {},
    "differences": dict(predictor=2),
    "tiles": dict(tile=16, predictor=2),
    "band by band": dict(planar=2, predictor=2),
    "tiles of bands": dict(planar=2, tile=16),
    "big-endian": dict(order=">", predictor=2),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("type", ["u1", "u2", "i2", "f4", "f8"])
def test_bands_of_a_tiff(tmp_path, way, type):
    path = tmp_path / "a.tif"
    values = np.random.default_rng(1).integers(0, 250, (24, 32, 7)).astype(type)
    path.write_bytes(tiff(values, **WAYS[way]))
    use_pictures(PictureFormat(bands=[4, 7, 1], value_range=[50, 101]))
    check_image_file(str(path))
    expected = values[..., [3, 6, 0]].astype(float)
    if type != "u1":
        expected = ((expected - 50) * 5).clip(0, 255)
    for task, pixels in readers(path).items():
        assert np.array_equal(pixels, expected), task


@pytest.mark.parametrize(
    "keys, options, message",
    [
        (dict(bands=[1, 2, 9]), {}, r"it has 5 bands, and not bands=\[1, 2, 9\]"),
        (dict(bands=[1, 2, 3]), {}, "pixels of 16 bits have no fixed range: set"),
        (dict(bands=[1, 2, 3], max_pixels=100), {}, "its 768 pixels exceed the limit of 100"),
        (dict(bands=[1, 2, 3]), dict(predictor=3), "with predictor 3 cannot be decoded: convert"),
    ],
)
def test_bands_that_cannot_be_read(tmp_path, keys, options, message):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(np.zeros((24, 32, 5), np.uint16), **options))
    use_pictures(PictureFormat(**keys))
    with pytest.raises(ValueError, match=message):
        check_image_file(str(path))
    for reason in readers(path).values():
        assert reason is None or isinstance(reason, str)


@pytest.mark.parametrize(
    "content, reason",
    [
        (_tiff(8, 16), r"it is a TIFF of 8 bands of 16 bits: choose three of them by .* \[4,3,2\]"),
        (_tiff(13, 8), "it is a TIFF of 13 bands of 8 bits: choose three of them by"),
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
        ({"bands": [1, 2]}, r"bands=\[1, 2\] of dataloader.pictures must be three numbers from 1"),
        ({"bands": [0, 1, 2]}, "must be three numbers from 1"),
        ({"bands": 3}, "must be three numbers from 1"),
        ({"max_pixels": 0}, "max_pixels=0 of dataloader.pictures must be a whole number"),
        ({"max_pixels": 1e9}, "max_pixels=1000000000.0 .* must be a whole number"),
    ],
)
def test_keys_of_the_wrong_kind(keys, message):
    with pytest.raises(UserError, match=message):
        PictureFormat(**keys)


@pytest.mark.parametrize("node", [L(PictureFormat)(value_range=[0, 4095]), {}])
def test_a_run_uses_the_format_of_its_config(monkeypatch, node):
    cfg = OmegaConf.create({"dataloader": {"pictures": node} if node else {}})
    seen = []
    monkeypatch.setattr(train, "setup", lambda args: (cfg, None))
    monkeypatch.setattr(train, "evaluate", lambda cfg, **_: seen.append(current_pictures()))
    train.main(SimpleNamespace(eval_only=True, resume=False))
    assert seen == [PictureFormat(value_range=[0, 4095] if node else None)]
    mapper = TolerantMapper(is_train=True, augmentations=[], image_format="RGB")
    use_pictures(PictureFormat())
    assert mapper.pictures == seen[0]  # also where a process of the loader does not inherit it
