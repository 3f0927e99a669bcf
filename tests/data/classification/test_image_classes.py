"""Class folders and tar files: images found, order of the labels, and faults."""

import os

import pytest
from detectron2.data import MetadataCatalog
from image_sets import LABELS, PICTURES, jpeg, write_folders, write_tar
from omegaconf import OmegaConf

from mvit_det.data import image_classes, shape_classes
from mvit_det.data.class_labels import display_names, given_classes
from mvit_det.data.classification.datasets import class_folders, count_images
from mvit_det.data.custom.categories import (
    categories_from_config,
    categories_to_config,
    dataset_categories,
    numbered,
)
from mvit_det.data.packed_text import PackedText
from mvit_det.errors import UserError
from mvit_det.tasks import Classification


@pytest.fixture(autouse=True)
def datasets_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))


def content(item: dict) -> bytes:
    """Read the bytes of an image by its item."""
    with open(item.get("shard", item["file_name"]), "rb") as file:
        file.seek(item.get("offset", 0))
        return file.read(item.get("size", -1))


def per_class(folder):
    """Write one tar file per class without folders inside, as ImageNet is distributed."""
    folder.mkdir()
    for name in ("cat", "dog", "eel"):
        inside = {key: value for key, value in PICTURES.items() if key.startswith(name)}
        write_tar(folder / f"{name}.tar", {os.path.basename(k): v for k, v in inside.items()})
    return folder


def in_folders(folder):
    """Write class folders below a common one, distributed over two tar files in any order."""
    folder.mkdir()
    names = list(PICTURES)
    for number, part in enumerate((names[::2], names[1::2])):
        write_tar(folder / f"{number}.tar", {f"./train/{name}": PICTURES[name] for name in part})
    return folder


def web_dataset(folder):
    """Write pairs of picture and label, and other members with the same keys."""
    folder.mkdir()
    members = {}
    for number, (picture, label) in enumerate(zip(PICTURES.values(), LABELS)):
        members |= {f"{number:04}.cls": str(label).encode(), f"{number:04}.json": b"{}"}
        members[f"{number:04}.seg.jpg" if number == 5 else f"{number:04}.jpg"] = picture
    write_tar(folder / "shard-00.tar", dict(list(members.items())[:9]))
    write_tar(folder / "shard-01.tar", dict(list(members.items())[9:]))
    return folder


LAYOUTS = {
    "folders": write_folders,
    "tar per class": per_class,
    "folders in tar": in_folders,
    "WebDataset": web_dataset,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_images_and_labels(tmp_path, layout):
    root = LAYOUTS[layout](tmp_path / "set")
    for _ in range(2):  # the second time from the stored index
        found = image_classes(root, num_classes=3)
        items = [found[i] for i in range(len(found))]
        pairs = {(content(item), item["label"]) for item in items}
        assert pairs == set(zip(PICTURES.values(), LABELS))
        assert [item["label"] for item in items] == found.labels.tolist()
        assert len({item["file_name"] for item in items}) == len(found) == 6
        names = ["0", "1", "2"] if layout == "WebDataset" else ["cat", "dog", "eel"]
        assert found.classes == found.class_names == class_folders(root) == names
        assert count_images(root) == 6


def test_a_single_tar_file_and_several_roots(tmp_path):
    folders = write_folders(tmp_path / "folders")
    shard = write_tar(tmp_path / "more.tar", {"dog/z.jpg": jpeg(1), "fox/y.jpg": jpeg(2)})
    found = image_classes([folders, shard])
    assert found.classes == ["cat", "dog", "eel", "fox"]
    assert found.labels.tolist() == LABELS + [1, 3]
    assert content(found[7]) == jpeg(2) and found[-1] == found[7]
    assert found[7]["file_name"] == f"{shard}/fox/y.jpg"
    with pytest.raises(IndexError):
        found[8]


def test_a_root_below_the_datasets_folder(tmp_path):
    write_folders(tmp_path / "datasets" / "animals" / "train")
    assert len(image_classes("animals/train")) == 6


def test_other_files_are_skipped_and_counted(tmp_path, caplog):
    root = write_folders(tmp_path / "set")
    extra = {
        "cat/notes.txt": b"x",
        "cat/a.HEIC": b"x",
        "dog/b.mp4": b"x",
        ".git/x/a.jpg": b"x",
        "dog/._d.jpg": b"x",
        "stray.jpg": b"x",
    }
    write_folders(root, extra)
    assert image_classes(root).labels.tolist() == LABELS
    assert (
        "ignored 1 images that are in no class folder and 3 files of other kinds (1 .heic, "
        "1 .mp4, 1 .txt)"
    ) in caplog.text


def test_linked_folders_are_followed(tmp_path):
    write_folders(tmp_path / "elsewhere")
    (tmp_path / "set").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere" / name)
    assert image_classes(tmp_path / "set").labels.tolist() == LABELS[:5]


# ------------------------------------------------------------------------------ order of the labels


def test_order_of_given_classes(tmp_path):
    root = write_folders(tmp_path / "set")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "classes.txt").write_text("eel\tan eel\n\ncat\ndog\n")
    found = image_classes(root, classes="classes.txt")
    assert found.classes == ["eel", "cat", "dog"] and found.class_names == ["an eel", "cat", "dog"]
    assert found.labels.tolist() == [1, 1, 1, 2, 2, 0]
    other = image_classes(root, classes=["fox", "eel", "dog", "cat"])
    assert other.labels.tolist() == [3, 3, 3, 2, 2, 1]


def test_same_classes_as_another_root(tmp_path, caplog):
    train = write_folders(tmp_path / "train")
    val = write_folders(tmp_path / "val", {"eel/x.jpg": jpeg(1)})
    found = image_classes(val, same_classes_as=train, num_classes=3)
    assert found.labels.tolist() == [2] and found.classes == ["cat", "dog", "eel"]
    assert "2 classes have no image: cat, dog" in caplog.text
    (val / "fox").mkdir()
    with pytest.raises(UserError, match=r"1 class folder\(s\) .* 3 classes of the model \(fox;"):
        image_classes(val, same_classes_as=train)


def test_classes_of_imagenet_without_its_data():
    folders, names = given_classes("imagenet-1k")
    assert len(folders) == len(set(names)) == 1000 and folders == sorted(folders)
    assert folders[0] == "n01440764" and names[0] == "tench"
    assert names[134] == "crane (n02012849)" and names[517] == "crane (n03126707)"
    node = dict(_target_=image_classes, root="not/here", classes="imagenet-1k")
    assert dataset_categories(node)[0] == {"id": 1, "name": "tench"}


@pytest.mark.parametrize("count", [3, 1001])
def test_classes_in_a_saved_config(count):
    categories = numbered([f"class: {i}" for i in range(count)])
    saved = OmegaConf.to_yaml(OmegaConf.create({"categories": categories_to_config(categories)}))
    assert categories_from_config(OmegaConf.create(saved)) == categories
    assert saved.count("id:") == (count if count == 3 else 0)


def test_classes_match_the_number_of_outputs(tmp_path):
    """They are those of training or of testing: ImageNet-21K is tested on some of its classes."""
    large = write_folders(tmp_path / "large")
    small = write_folders(tmp_path / "small", {"cat/a.jpg": b"", "dog/a.jpg": b""})
    train, test = (dict(_target_=image_classes, root=str(root)) for root in (large, small))
    data = dict(train=dict(dataset=train), test=dict(dataset=test))
    counts = {}
    for outputs in (2, 3, 4):
        cfg = OmegaConf.create(
            dict(dataloader=data, model=dict(num_classes=outputs)), flags={"allow_objects": True}
        )
        counts[outputs] = Classification().data_categories(cfg)
    assert [entry["name"] for entry in counts[2]] == ["cat", "dog"]
    assert [entry["name"] for entry in counts[3]] == ["cat", "dog", "eel"]
    assert counts[4] is None


def test_classes_of_generated_data_without_drawing_them():
    found = dataset_categories(dict(_target_=shape_classes, split="val"))
    assert [entry["name"] for entry in found][:2] == ["background", "circle"] and len(found) == 6


def test_display_names_of_synsets():
    assert display_names(["n01440764", "n01443537"]) == ["tench", "goldfish"]
    assert display_names(["n01440764", "n99999999"]) == ["tench", "n99999999"]
    assert display_names(["n01440764", "mine"]) == ["n01440764", "mine"]


def test_classes_reach_the_catalog_and_the_config(tmp_path):
    root = write_folders(tmp_path / "set")
    node = dict(_target_="mvit_det.data.classification.datasets.image_classes", root=str(root))
    assert [entry["name"] for entry in dataset_categories(node)] == ["cat", "dog", "eel"]
    assert dataset_categories(node | {"root": str(tmp_path / "no")}) is None
    image_classes(root, name="toy_animals")
    assert MetadataCatalog.get("toy_animals").classes == ["cat", "dog", "eel"]
    image_classes(root, name="toy_animals", classes=["eel", "dog", "cat"])
    assert MetadataCatalog.get("toy_animals").thing_classes == ["eel", "dog", "cat"]
    MetadataCatalog.get("toy_taken").set(thing_classes=["x"])
    with pytest.raises(UserError, match="'toy_taken' is taken"):
        image_classes(root, name="toy_taken")


# ---- faults


def test_roots_without_images(tmp_path):
    with pytest.raises(UserError, match=r"no/where does not exist \(looked for .*DETECTRON2_DATAS"):
        image_classes("no/where")
    empty = tmp_path / "empty"
    empty.mkdir()
    sentence = "no class folders: make one folder per class .* or the tar files"
    with pytest.raises(UserError, match=sentence):
        image_classes(empty)
    (empty / "a.jpg").write_bytes(jpeg(1))
    with pytest.raises(UserError, match="has 1 images, but no class folders"):
        image_classes(empty)
    (empty / "cat").mkdir()
    with pytest.raises(UserError, match="has no image in its class folders or tar files"):
        image_classes(empty)
    (empty / "x.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"tar files \(x.tar\) and folders \(cat\)"):
        image_classes(empty)
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "a.tar.gz").write_bytes(b"x")
    with pytest.raises(UserError, match="compressed archives: unpack"):
        image_classes(packed)


@pytest.mark.parametrize("name", ["listdir", "scandir"])
def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch, name):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    root = write_folders(tmp_path / "set")
    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(UserError, match=r"set.* cannot be read \(Permission denied\)"):
        image_classes(root)


def test_another_number_of_classes(tmp_path):
    sentence = "has 3 classes, .* built for 1000: set model.num_classes=3"
    with pytest.raises(UserError, match=sentence):
        image_classes(write_folders(tmp_path / "set"), num_classes=1000)


def test_faulty_lists_of_classes(tmp_path):
    root = write_folders(tmp_path / "set")
    with pytest.raises(UserError, match="The list of classes .*no.txt does not exist"):
        image_classes(root, classes=str(tmp_path / "no.txt"))
    with pytest.raises(UserError, match="The list of classes .*set cannot be read"):
        image_classes(root, classes=root)
    with pytest.raises(UserError, match="names cat more than once"):
        image_classes(root, classes=["cat", "dog", "cat"])
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="names no class"):
        image_classes(root, classes=tmp_path / "empty.txt")


# ---- millions of names


def test_packed_names_take_eight_bytes_each_besides_their_letters():
    names = PackedText.of(f"n{i % 1000:08}/n{i % 1000:08}_{i:05}.JPEG" for i in range(20_000))
    assert names[0] == "n00000000/n00000000_00000.JPEG" and names[-1].endswith("_19999.JPEG")
    assert names.text.nbytes + names.ends.nbytes == 20_000 * (len(names[0]) + 8)


def test_packing_names_that_are_not_ascii():
    names = ["", "a", "hund\u00f6", b"caf\xe9".decode("utf-8", "surrogateescape"), "z"]
    assert list(PackedText.of(names)) == names
    joined = PackedText.joined([PackedText.of(names[:2]), PackedText.of([]), PackedText.of(["b"])])
    assert list(joined) == ["", "a", "b"] and joined[-1] == "b"
