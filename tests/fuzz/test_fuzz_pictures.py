"""Pictures of each format, and videos: training and prediction read them, or skip them."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from mutations import binaries
from PIL import Image
from video_files import numbered_frames, write_video

from mvit_det.data import ImageMapper, TolerantMapper
from mvit_det.data.decoding.reader import open_video
from mvit_det.data.decoding.stream import VideoError
from mvit_det.data.image_files import PictureFormat, unreadable_files, use_pictures
from mvit_det.predict.sources import Picture, Video, iterate_frames

FORMATS = {
    "jpeg": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"},
    "png": {},
    "tiff": {"compression": "tiff_lzw"},
    "gif": {},
    "bmp": {},
    "webp": {},
    "ppm": {},
    "tga": {},
    "ico": {"sizes": [(32, 24)]},
    "pcx": {},
    "sgi": {},
    "dds": {},
    "jpeg2000": {},
    "avif": {},
    "qoi": {},
    "im": {},
    "mpo": {},
}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) (w) file showpage\n"


def encoded(kind: str, mode: str = "RGB", **options) -> bytes:
    """Encode a small picture with lines."""
    pixels = np.add.outer(np.arange(24) * 10, np.arange(32) * 7).astype(np.uint8)
    content = io.BytesIO()
    picture = Image.fromarray(pixels).convert(mode)
    picture.save(content, kind, **options)
    return content.getvalue()


@st.composite
def png_files(draw, valid: bytes) -> bytes:
    """Draw a PNG with a fault in one of its chunks, whose checksum is right."""
    start = draw(st.sampled_from([m.start() for m in re.finditer(b"IHDR|IDAT|IEND", valid)]))
    size = int.from_bytes(valid[start - 4 : start], "big")
    content = draw(binaries(valid[start + 4 : start + 4 + size] or b"x", head=13))
    kinds = [
        valid[start : start + 4],
        b"iCCP",
        b"zTXt",
        b"eXIf",
        b"acTL",
        b"fdAT",
        b"tRNS",
        b"PLTE",
    ]
    chunk = draw(st.sampled_from(kinds[:1] * 9 + kinds)) + content
    new = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return valid[: start - 4] + new + valid[start + (8 + size if chunk[:4] == kinds[0] else -4) :]


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return a function that trains on, and predicts, one picture; it returns why it is skipped."""
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # it has not looked for a program yet
    path = tmp_path / "p.png"
    item = dict(file_name=str(path), label=0, height=24, width=32, image_id=1, annotations=[])
    options = dict(max_bad_share=1.0)

    def run(data: bytes):
        path.write_bytes(data)
        mapper = TolerantMapper(True, augmentations=[], image_format="BGR", **options)
        sample = mapper(item)
        ImageMapper(True, transform=np.asarray, exif_transpose=True, **options)(item)
        reasons = [mapper.bad_samples._reasons.get(str(path))]
        reasons += unreadable_files([str(path)]).values()
        frames = list(iterate_frames([Picture(path)], lambda _, reason: reasons.append(reason)))
        assert all(frame.image.dtype == np.uint8 and frame.image.ndim == 3 for frame in frames)
        assert sample is None or sample["image"].dtype == torch.uint8
        return next(filter(None, reasons), None)

    yield run
    use_pictures(PictureFormat())


@pytest.mark.parametrize("kind", FORMATS)
def test_pictures(kind, fuzz, read):
    valid = encoded(kind, **FORMATS[kind])
    inputs = binaries(valid) | png_files(valid) if kind == "png" else binaries(valid)
    fuzz(valid, inputs, read, EPS, short=15)


@pytest.mark.parametrize("bands", [None, [3, 2, 1]])
def test_deep_pictures_and_bands(bands, fuzz, read):
    use_pictures(PictureFormat(value_range=[0, 4000], bands=bands))
    bits = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 5
    files = [encoded("tiff", compression="tiff_deflate"), encoded("png")]
    for kind in ("png", "tiff"):
        content = io.BytesIO()
        Image.fromarray(bits).save(content, kind)
        files.append(content.getvalue())
    fuzz(files[0], st.sampled_from(files).flatmap(binaries), read)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm", ".mkv"])
def test_videos(suffix, fuzz, tmp_path):
    path = write_video(tmp_path / f"v{suffix}", numbered_frames(12), gop=5, index_first=True)
    valid = path.read_bytes()

    def read_video(data: bytes):
        path.write_bytes(data)
        reasons: list[str] = []
        try:
            with open_video(path) as video:
                assert (np.diff(video.times) >= 0).all()
                frames = video.frames([len(video) - 1, 0, len(video) // 2])
                assert frames.dtype == np.uint8
        except VideoError as error:
            reasons.append(str(error))
        list(iterate_frames([Video(path)], lambda _, reason: reasons.append(reason)))
        return next(iter(reasons), None)

    texts = [b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n", b"ffconcat version 1.0\nfile x\n"]
    fuzz(valid, binaries(valid, head=600), read_video, *texts, short=15)
