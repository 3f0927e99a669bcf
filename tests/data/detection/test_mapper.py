"""Detection mapper: bad images are skipped or blank, good ones mapped as by Detectron2."""

import pickle
import re

import numpy as np
import pytest
import torch
from detectron2.data import (
    DatasetMapper,
    MapDataset,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from PIL import Image

from mvit_det.coco_files import Polygon
from mvit_det.data.detection.mapper import TolerantMapper
from mvit_det.errors import UserError


def make_mapper(is_train=True, augmentations=(), **arguments):
    return TolerantMapper(
        is_train,
        augmentations=list(augmentations),
        image_format="RGB",
        use_instance_mask=True,
        **arguments,
    )


def make_dict(path, width=64, height=48, image_id=5, segmentation=None):
    annotation = dict(
        bbox=[4, 4, 20, 16],
        bbox_mode=BoxMode.XYWH_ABS,
        category_id=0,
        id=17,
        segmentation=segmentation or [[4, 4, 24, 4, 24, 20, 4, 20]],
    )
    return dict(
        file_name=str(path),
        width=width,
        height=height,
        image_id=image_id,
        annotations=[annotation],
    )


def pixels(seed=0):
    """Make a smooth picture of 64 x 48, which JPEG hardly changes."""
    ramp = np.linspace(20, 230, 64)[None, :, None] * np.linspace(0.5, 1, 48)[:, None, None]
    return (ramp * [1, 0.8, 0.6 + 0.1 * seed]).astype(np.uint8)


def test_polygons_in_arrays_are_mapped_as_lists(tmp_path):
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    augmentations = [T.Resize((96, 128)), T.RandomFlip(1.0), T.CropTransform(60, 7, 66, 50)]
    outputs = []
    for kind in (list, lambda values: Polygon("d", values)):
        item = make_dict(tmp_path / "a.png", segmentation=[kind([4.0, 4.25, 24.5, 4.0, 24.0, 20])])
        kept = pickle.dumps(item)
        sample = make_mapper(augmentations=augmentations)(item)
        assert pickle.dumps(item) == kept  # as it was
        outputs.append(sample["instances"].gt_masks.polygons[0][0])
    assert outputs[0].tolist() == outputs[1].tolist()


# ---- Bad images. Each entry writes one file; the reason must match.


def _truncated_jpeg(path):
    Image.fromarray(pixels()).save(path, "jpeg")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _damaged_png(path):
    Image.fromarray(pixels()).save(path, "png")
    data = bytearray(path.read_bytes())
    data[41:60] = bytes(19)
    path.write_bytes(data)


def _bomb(path):
    # The header alone claims 20000 x 20000 pixels.
    Image.fromarray(pixels()).save(path, "bmp")
    data = bytearray(path.read_bytes())
    data[18:26] = (20000).to_bytes(4, "little") * 2
    path.write_bytes(data)


BAD = {
    "missing": (lambda path: None, "does not exist"),
    "empty": (lambda path: path.write_bytes(b""), "not a picture"),
    "web page": (lambda path: path.write_text("<html>not found</html>"), "not a picture"),
    "truncated": (_truncated_jpeg, "truncated"),
    "damaged": (_damaged_png, "broken PNG file"),
    "a folder": (lambda path: path.mkdir(), "directory"),
    "other size": (lambda path: Image.new("RGB", (60, 48)).save(path, "png"), "60"),
    "16 bit": (
        lambda path: Image.fromarray(np.full((48, 64), 10**4, np.uint16)).save(path, "png"),
        "I;16",
    ),
    "bomb": (_bomb, "400000000 pixels"),
}


ROW_16 = ("missing", "empty", "web page", "truncated", "damaged", "a folder")


@pytest.mark.parametrize("fault", ROW_16)
def test_row_16_a_bad_image_is_named_and_skipped_or_tested_blank(tmp_path, caplog, fault):
    check_bad_image(tmp_path, caplog, fault)


def test_row_18_an_image_of_another_size_than_annotated(tmp_path, caplog):
    reason = check_bad_image(tmp_path, caplog, "other size")
    assert re.search("60.*48.*64.*48", reason), reason  # both sizes, in words of either host


def test_row_25_an_image_of_16_bits(tmp_path, caplog):
    check_bad_image(tmp_path, caplog, "16 bit")


def test_row_27_an_image_of_400_million_pixels(tmp_path, caplog):
    check_bad_image(tmp_path, caplog, "bomb")


def check_bad_image(tmp_path, caplog, fault) -> str:
    """The reason, which both mappers give with the name of the file."""
    write, reason = BAD[fault]
    path = tmp_path / "bad.jpg"
    write(path)
    mapper = make_mapper()
    assert mapper(make_dict(path)) is None and mapper(make_dict(path)) is None
    messages = [r.getMessage() for r in caplog.records if r.name == "mvit_det.data.bad_samples"]
    assert len(messages) == 1  # once per file
    assert (
        f"Image {path} (id 5) is skipped: " in messages[0] and reason.lower() in messages[0].lower()
    )

    item = make_dict(path)
    tested = make_mapper(is_train=False)(item)
    assert reason.lower() in tested["unreadable"].lower() and "annotations" not in tested
    assert (tested["height"], tested["width"], tested["image_id"]) == (48, 64, 5)
    assert tested["image"].dtype == torch.uint8 and tested["image"].float().std() == 0
    assert "annotations" in item  # the data set's dict is not changed
    return tested["unreadable"]


def test_row_27_image_that_is_resized_to_nothing(tmp_path, caplog):
    path = tmp_path / "line.png"
    Image.new("RGB", (2000, 1)).save(path)
    augmentations = [T.ResizeShortestEdge(64, 128)]
    narrow = make_dict(path, 2000, 1)
    assert make_mapper(augmentations=augmentations)(narrow) is None
    assert f"Image {path} (id 5) is skipped" in caplog.text
    assert "unreadable" in make_mapper(is_train=False, augmentations=augmentations)(narrow)


def test_row_17_an_error_in_the_program_is_not_a_bad_image(tmp_path):
    class Broken(T.Augmentation):
        def get_transform(self, image):
            return image.no_such_attribute

    path = tmp_path / "good.png"
    Image.fromarray(pixels()).save(path)
    mapper = make_mapper(augmentations=[Broken()])
    with pytest.raises(RuntimeError, match=r"good.png \(id 5\) reads well, .*no_such_attribute"):
        mapper(make_dict(path))


@pytest.mark.parametrize(
    "change", [dict(bbox_mode=7), dict(bbox=[4, "4", 20, 16]), dict(segmentation=[[1, 2, 3]])]
)
def test_row_17_an_error_of_an_annotation_names_file_image_and_annotation(tmp_path, caplog, change):
    """Of a data set that Detectron2 has registered; COCO files are judged before."""
    path = tmp_path / "good.png"
    Image.fromarray(pixels()).save(path)
    item = make_dict(path)
    item["annotations"].append(dict(item["annotations"][0], id=18) | change)
    try:
        assert make_mapper(augmentations=[T.RandomFlip()])(item) is None
        text = caplog.text
    except RuntimeError as error:
        text = str(error)
    assert f"{path} (id 5)" in text and "annotation 18" in text


def test_row_20_rle_with_polygon_format(tmp_path):
    path = tmp_path / "good.png"
    Image.fromarray(pixels()).save(path)
    rle = {"size": [48, 64], "counts": b"]33"}
    item = make_dict(path, segmentation=rle)
    with pytest.raises(UserError, match=r"Annotation 17 of .*good.png \(image id 5\).*'bitmask'"):
        make_mapper()(item)
    item["annotations"][0]["iscrowd"] = 1  # not trained
    assert len(make_mapper()(item)["instances"]) == 0


# ---- Good images of every kind.

KINDS = {
    "gray": lambda image: image.convert("L"),
    "palette": lambda image: image.quantize(256),
    "RGBA": lambda image: image.convert("RGBA"),
    "gray with alpha": lambda image: image.convert("LA"),
    "CMYK": lambda image: image.convert("CMYK"),
    "1 bit": lambda image: image.convert("1"),
    "GIF": lambda image: image.quantize(64),
}
SUFFIXES = {"CMYK": "tiff", "GIF": "gif"}


@pytest.mark.parametrize("kind", KINDS)
def test_row_24_other_pixel_formats(tmp_path, kind):
    image = KINDS[kind](Image.fromarray(pixels()))
    path = tmp_path / f"image.{SUFFIXES.get(kind, 'png')}"
    image.save(path)
    mapped = make_mapper()(make_dict(path))["image"].float()
    reference = np.asarray(image.convert("RGB"), dtype=np.float32)
    assert mapped.shape == (3, 48, 64)
    assert np.abs(mapped.mean((1, 2)).numpy() - reference.mean((0, 1))).max() < 1
    assert 60 < mapped.mean() < 200


# How the stored pixels (H, W, 3) become those that are shown, by EXIF orientation.
SHOWN = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: x.transpose(1, 0, 2)[:, ::-1],
    7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda x: x.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
@pytest.mark.parametrize("orientation", SHOWN)
def test_row_26_pixels_and_annotations_follow_the_exif_orientation(
    tmp_path, caplog, orientation, suffix
):
    """The box and the polygon of a bright object are those of the picture as it is shown."""
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[8:16, 8:24] = 255  # off the centre, in whole blocks of JPEG
    shown = SHOWN[orientation](stored)
    ys, xs = np.nonzero(shown[..., 0])
    left, top, right, bottom = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(stored).save(path, exif=exif)

    polygon = [left, top, right, top, right, bottom, left, bottom]
    item = make_dict(path, *shown.shape[1::-1], segmentation=[[float(v) for v in polygon]])
    item["annotations"][0]["bbox"] = [left, top, right - left, bottom - top]
    mapped = make_mapper()(item)
    pixels = mapped["image"].permute(1, 2, 0).numpy()
    assert np.abs(pixels.astype(int) - shown).max() <= (2 if suffix == "jpg" else 0)
    (box,) = mapped["instances"].gt_boxes.tensor.tolist()
    assert box == [left, top, right, bottom]
    assert np.array_equal(mapped["instances"].gt_masks.polygons[0][0], polygon)
    # an annotated size before the rotation is refused
    if orientation >= 5:
        assert make_mapper()(make_dict(path, 64, 48)) is None
        assert re.search(f"{path}.*48.*64.*64.*48", caplog.text)


def test_good_image_is_mapped_as_by_the_base_class(tmp_path):
    path = tmp_path / "good.png"
    Image.fromarray(pixels()).save(path)
    arguments = dict(
        augmentations=[T.Resize((96, 128))], image_format="BGR", use_instance_mask=True
    )
    mapped = TolerantMapper(True, **arguments)(make_dict(path))
    base = DatasetMapper(True, **arguments)(make_dict(path))
    assert torch.equal(mapped["image"], base["image"]) and mapped.keys() == base.keys()
    assert torch.equal(mapped["instances"].gt_boxes.tensor, base["instances"].gt_boxes.tensor)


# ---- Counting.


def test_row_16_five_bad_images_before_any_good_one(tmp_path):
    dataset = MapDataset([make_dict(tmp_path / f"{i}.png") for i in range(18)], make_mapper())
    with pytest.raises(UserError, match="5 of the 5 images"):
        dataset[0]


def test_row_16_loaders_continue_after_a_bad_image(tmp_path):
    names = [tmp_path / f"{i}.png" for i in range(6)]
    for name in names[1:]:
        Image.fromarray(pixels()).save(name)
    dicts = [make_dict(name, image_id=i) for i, name in enumerate(names)]
    train = build_detection_train_loader(
        dicts, mapper=make_mapper(max_bad_share=0.2), total_batch_size=2, num_workers=0
    )
    stream = iter(train)
    ids = [item["image_id"] for _ in range(12) for item in next(stream)]
    assert len(ids) == 24 and set(ids) == {1, 2, 3, 4, 5}
    test = build_detection_test_loader(dicts, mapper=make_mapper(is_train=False), num_workers=0)
    tested = [item for batch in test for item in batch]
    assert [item["image_id"] for item in tested] == list(range(6))  # none twice, none left out
    assert ["unreadable" in item for item in tested] == [True] + [False] * 5


def test_a_worker_passes_on_a_user_error(tmp_path):
    dicts = [make_dict(tmp_path / f"{i}.png") for i in range(4)]
    dataset = MapDataset(dicts, make_mapper(min_seen=4))
    loader = torch.utils.data.DataLoader(dataset, batch_size=1, num_workers=1)
    stream = iter(loader)
    try:
        next(stream)
    except UserError as error:
        message = str(error)
        # The traceback would keep the worker waiting until some later garbage collection.
        error.__traceback__ = None
    assert "4 of the 4 images read so far cannot be used" in message


def test_mapper_can_be_pickled(tmp_path):
    mapper = pickle.loads(pickle.dumps(make_mapper(max_bad_share=0.3)))
    assert (
        mapper.bad_samples.max_bad_share == 0.3 and mapper(make_dict(tmp_path / "no.png")) is None
    )
