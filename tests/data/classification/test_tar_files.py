"""Tar files: damage, faulty labels, and the stored index."""

import io
import os
import tarfile

import numpy as np
import pytest
from image_sets import PICTURES, jpeg, write_tar

from mvit_det.data import image_classes
from mvit_det.data.classification import tar_files as shards
from mvit_det.errors import UserError


@pytest.fixture(autouse=True)
def datasets_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))


DAMAGE = {
    "cut off": lambda data: data[: len(data) // 2],
    "cut off after a picture": lambda data: data[:1536],
    "a header overwritten": lambda data: data[:1536] + b"\xff" * 512 + data[2048:],
    "not a tar file": lambda data: b"\x1f\x8b" + data[2:],
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_tar(tmp_path, kind):
    shard = write_tar(tmp_path / "a.tar", {name: jpeg(9)[:700] for name in PICTURES})
    shard.write_bytes(DAMAGE[kind](shard.read_bytes()))
    sentence = r"a.tar is damaged, cut off or compressed \(.*copy it again"
    with pytest.raises(UserError, match=sentence):
        image_classes(shard)


@pytest.mark.parametrize(
    "members, sentence",
    [
        ({"a.jpg": b"", "a.png": b"", "a.cls": b"0"}, "more than one image with the key 'a'"),
        ({"a.jpg": b"", "a.cls": b"cat"}, "a.cls contains b'cat': write the class index"),
        ({"a.jpg": b"", "a.cls": b"-1"}, "labels such as -1, .* 2 classes, 0 to 1"),
        ({"a.jpg": b"", "a.cls": b"2"}, "labels such as 2, .* 2 classes, 0 to 1"),
        ({"fox/a.jpg": b""}, r"not among the 2 classes of the model \(fox; known are cat, dog\)"),
    ],
)
def test_faulty_labels(tmp_path, members, sentence):
    with pytest.raises(UserError, match=sentence):
        image_classes(write_tar(tmp_path / "a.tar", members), classes=["cat", "dog"])


def test_a_member_that_occurs_twice(tmp_path):
    shard = write_tar(tmp_path / "a.tar", {"cat/a.jpg": b""})
    with tarfile.open(shard, "a") as tar:
        tar.addfile(tarfile.TarInfo("cat/a.jpg"))
    with pytest.raises(UserError, match="has cat/a.jpg twice"):
        image_classes(shard)


def test_images_without_label_and_mixed_kinds(tmp_path, caplog):
    write_tar(tmp_path / "a.tar", {"1.jpg": b"x", "1.cls": b"1", "2.jpg": b"y"})
    assert image_classes(tmp_path / "a.tar").labels.tolist() == [1]
    assert "ignored 1 images without a label" in caplog.text
    write_tar(tmp_path / "b.tar", {"cat/1.jpg": b"x"})
    sentence = "some images have a class index as label .* others a class folder"
    with pytest.raises(UserError, match=sentence):
        image_classes(tmp_path)
    assert image_classes(tmp_path, classes=["dog", "cat"]).labels.tolist() == [1, 1]


# ---- the index


def test_the_index_is_stored_and_rebuilt_with_the_file(tmp_path, monkeypatch):
    shard = write_tar(tmp_path / "a.tar", {"cat/a.jpg": b"1", "dog/b.jpg": b"22"})
    first = image_classes(shard)
    stored = tmp_path / "a.tar.index.npz"
    assert stored.is_file() and not list(tmp_path.glob("*.partial"))
    with monkeypatch.context() as patch:
        patch.delattr(shards, "_read_headers")  # it is not read again
        assert [image_classes(shard)[i] for i in range(2)] == [first[0], first[1]]
    write_tar(shard, {"cat/a.jpg": b"1", "dog/b.jpg": b"22", "fox/c.jpg": b"3"})
    assert image_classes(shard).classes == ["cat", "dog", "fox"]
    stored.write_bytes(stored.read_bytes()[:300])  # damaged: rebuilt
    assert image_classes(shard).classes == ["cat", "dog", "fox"]


def test_the_index_of_a_folder_that_cannot_be_written(tmp_path, monkeypatch, caplog):
    shard = write_tar(tmp_path / "a.tar", {"cat/a.jpg": b"1"})
    central = tmp_path / "datasets" / "indexes"
    (tmp_path / "a.tar.index.npz.partial").mkdir()  # so that no file can be written there
    assert len(image_classes(shard)) == 1
    (stored,) = central.iterdir()
    assert stored.name.startswith("a.tar-")
    stored.rename(tmp_path / "old")
    (central / f"{stored.name}.partial").mkdir()
    assert len(image_classes(shard)) == 1
    assert "cannot be stored: it is rebuilt for each run" in caplog.text


def test_an_index_with_pickled_code_is_not_loaded(tmp_path):
    shard = write_tar(tmp_path / "a.tar", {"cat/a.jpg": b"1"})
    np.savez(tmp_path / "a.tar.index.npz", stamp=np.array([os.system, 1], dtype=object))
    assert len(image_classes(shard)) == 1  # treated as damaged


def test_archives_joined_by_cat_are_refused(tmp_path):
    a, b = (write_tar(tmp_path / f"{name}.tar", PICTURES).read_bytes() for name in "ab")
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "c.tar").write_bytes(a + b)
    with pytest.raises(UserError, match="c.tar .*more follows its end mark"):
        image_classes(tmp_path / "both")


def test_a_link_in_place_of_an_image_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in PICTURES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("cat/link.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "cat/a.jpg"
        tar.addfile(link)
    with pytest.raises(UserError, match="cat/link.jpg is a link"):
        image_classes(tmp_path)
