"""Values of the wrong kind in annotation files: what is completed, and what is refused."""

import json
import pickle

import pytest
from coco_examples import RLE, sound

from mvit_det.coco_files import Polygon, read_coco_json
from mvit_det.errors import UserError


@pytest.fixture
def read(tmp_path):
    """Return a function that changes entries of a sound file, and reads it."""

    def run(key, prefix=b"", **values):
        coco, _ = sound()
        coco[key][0].update(values)
        path = tmp_path / "truth.json"
        path.write_bytes(prefix + json.dumps(coco).encode())
        return read_coco_json(path)

    return run


WIDE = [[10, 4, 30, 4, 30, 8, 10, 8]]
COMPLETED = [
    *[("annotations", dict(area=area), dict(area=400)) for area in (None, "400", True, -1, [])],
    ("annotations", dict(area=float("nan"), segmentation=RLE), dict(area=40)),
    ("annotations", dict(area=None, segmentation=[]), dict(area=400)),
    ("annotations", dict(area=None, bbox=[5, 5, float("nan"), 20], segmentation=[]), dict(area=0)),
    ("annotations", dict(bbox=None, segmentation=WIDE), dict(bbox=[10, 4, 20, 4])),
    ("annotations", dict(bbox=[], segmentation=RLE), dict(bbox=[5, 5, 2, 20])),
    *[("annotations", dict(iscrowd=crowd), dict(iscrowd=0)) for crowd in (None, "0", False)],
    *[("annotations", dict(iscrowd=crowd), dict(iscrowd=1)) for crowd in ("1", True, "True")],
    ("images", dict(width=64.0), dict(width=64)),
    ("categories", dict(name=5), dict(name="5")),
]


@pytest.mark.parametrize("key, values, expected", COMPLETED)
def test_what_follows_from_the_file_is_completed(read, key, values, expected):
    coco = read(key, **values)
    found = {name: coco[key][0][name] for name in expected}
    assert found == expected and not any(isinstance(value, bool) for value in found.values())
    assert coco["completed"] == dict.fromkeys(expected, 1)


def test_polygons_of_floats_are_arrays(read):
    mask = [[1.0, 2.5, 3.0, 4.0, 5.0, 6.0], [1, 2.5, 3, 4, 5, 6]]
    found = read("annotations", segmentation=mask)["annotations"][0]["segmentation"]
    assert found == mask and mask == found and found != [mask[0][1:], mask[1]]
    assert [type(part) for part in found] == [Polygon, list]  # Detectron2 rounds integers
    assert found == pickle.loads(pickle.dumps(found))


REFUSED = [
    ("annotations", dict(iscrowd=2), "annotation 1 has iscrowd=2: write 0, or 1"),
    ("annotations", dict(bbox=[5, 5, True, 20]), "annotation 1 has bbox=.5, 5, True, 20."),
    ("annotations", dict(bbox=[10**400, 5, 9, 9]), "annotation 1 has bbox=.1000"),
    ("annotations", dict(bbox=None, segmentation=None), "annotation 1 has no 'bbox'"),
    ("annotations", dict(segmentation=[["1"] * 6]), "annotation 1 has a segmentation that is not"),
    ("annotations", dict(id=[1]), r"annotation \[1\] has id=\[1\]: write a number or text"),
    ("annotations", dict(image_id=True), "annotation 1 has image_id=True"),
    ("images", dict(id=None), "all numbers or all strings, but 'images' has None"),
    ("images", dict(id="1"), "all numbers or all strings, but 'images' has '1', 2"),
    ("images", dict(id=True), "all numbers or all strings, but 'images' has True"),
    ("images", dict(id=2), "the list 'images' has more than one entry with id 2"),
    ("images", dict(file_name=None), "image 1 .* has a file_name that is not the name of a file"),
    ("images", dict(file_name="\ud800.png"), r"image 1 \('.ud800.png'\) has a file_name"),
    ("images", dict(height="48"), "image 1 .* has height='48'"),
    ("images", dict(height=True), "image 1 .* has height=True"),
    ("images", dict(width=10**12), "image 1 .* has width=1000000000000: .* 1 to 65535"),
    ("categories", dict(name=None), "category 7 has name=None: write text"),
]


@pytest.mark.parametrize("key, values, sentence", REFUSED)
def test_what_cannot_be_known_is_refused_with_the_id(read, key, values, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        read(key, **values)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()


def test_a_sound_file_is_unchanged_with_and_without_a_byte_order_mark(read):
    for prefix in (b"", b"\xef\xbb\xbf"):
        assert read("images", prefix) == sound()[0]


def test_lists_may_be_objects(tmp_path):
    coco, _ = sound()
    path = tmp_path / "livecell.json"
    path.write_text(json.dumps({**coco, "annotations": {a["id"]: a for a in coco["annotations"]}}))
    assert read_coco_json(path) == coco
    path.write_text(json.dumps({**coco, "annotations": "none"}))
    with pytest.raises(UserError, match="'annotations' is str instead of a list"):
        read_coco_json(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"images": ' + "9" * 5000 + "}"])
def test_json_beyond_any_use_is_one_sentence(tmp_path, text):
    path = tmp_path / "truth.json"
    path.write_text(text)
    with pytest.raises(UserError, match="truth.json cannot be read: it has .* beyond any use"):
        read_coco_json(path)
