"""Videos and labels from class folders and lists; missing videos and error messages."""

import os
import pickle

import pytest
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.data import MetadataCatalog
from omegaconf import OmegaConf
from test_video_lists import TEMPLATES, frames_of, write_something

from mvit_det.data import video_classes, video_views
from mvit_det.data.custom.categories import dataset_categories
from mvit_det.data.video.datasets import count_videos, video_class_folders
from mvit_det.errors import UserError

LIST = "cat/a.mp4 0\ncat/b c.avi 0\ndog/d.webm 1\neel/e 2\n"
# of three classes: files, files at any depth, and folders of frames
FILES = ["cat/a.mp4", "cat/b c.avi", "dog/deep/d.WEBM", "eel/e/001.jpg", "eel/e/002.jpg"]


@pytest.fixture(autouse=True)
def datasets_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


def touch(root, names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def listed(tmp_path, text=LIST, name="list.txt"):
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    return tmp_path / name


def items(found):
    return [
        (item["file_name"], item["label"]) for item in map(found.__getitem__, range(len(found)))
    ]


# ------------------------------------------------------------------------------------------ folders


def test_class_folders(tmp_path, caplog):
    extra = ["cat/notes.txt", "cat/.h.mp4", ".x/a.mp4", "stray.mp4", "eel/e/more/1.png"]
    root = touch(tmp_path / "set", FILES + extra)
    found = video_classes(root, num_classes=3)
    names = ["cat/a.mp4", "cat/b c.avi", "dog/deep/d.WEBM", "eel/e"]
    assert items(found) == [(f"{root}/{name}", label) for name, label in zip(names, (0, 0, 1, 2))]
    assert found.classes == found.class_names == video_class_folders(root) == ["cat", "dog", "eel"]
    assert count_videos(root) == len(found) == 4 and found.missing == 0
    assert "ignored 1 videos that are in no class folder" in caplog.text


def test_a_picture_above_videos_is_not_a_video(tmp_path):
    root = touch(tmp_path / "set", ["cat/films/cover.jpg", "cat/films/1/a.mp4", "dog/b.mp4"])
    names = [name[len(f"{root}/") :] for name, _ in items(video_classes(root))]
    assert names == ["cat/films/1/a.mp4", "dog/b.mp4"]


def test_links_to_folders(tmp_path):
    root = touch(tmp_path / "set", ["cat/a.mp4", "dog/a.mp4"])
    touch(tmp_path / "more", ["b.mp4"])
    (root / "cat" / "linked").symlink_to(tmp_path / "more")
    for link, target in (("cat/loop", root / "cat"), ("dog/loop", tmp_path), ("cat/x.mp4", "gone")):
        (root / link).symlink_to(target)
    names = [name[len(f"{root}/") :] for name, _ in items(video_classes(root))]
    assert names == ["cat/a.mp4", "cat/x.mp4", "cat/linked/b.mp4", "dog/a.mp4"]


def test_folder_names_of_copies_of_kinetics(tmp_path):
    names = ["air_drumming", "abseiling", "massaging person's head"]
    root = touch(tmp_path / "set", [f"{name}/a.mp4" for name in names])
    assert video_classes(root, classes="kinetics-400").labels.tolist() == [0, 1, 196]
    touch(root, ["flying/a.mp4"])
    with pytest.raises(
        UserError, match=r"1 class folder\(s\) .* 400 classes .*\(flying; known are"
    ):
        video_classes(root, classes="kinetics-400")


def test_unusable_folders(tmp_path):
    with pytest.raises(UserError, match="The folder or list of videos no/where does not exist"):
        video_classes("no/where")
    root = touch(tmp_path / "set", ["a.mp4"])
    with pytest.raises(UserError, match="set has 1 videos, but no class folders: make one folder"):
        video_classes(root)
    touch(root, ["cat/frame1.jpg", "cat/frame2.jpg"])
    with pytest.raises(
        UserError, match=r"no video in its class folders \(of cat\).*frames of a vid"
    ):
        video_classes(root)
    touch(root, ["cat/a.mp4", "dog/readme.txt"])
    with pytest.raises(UserError, match="root=x is for lists of videos"):
        video_classes(root, root="x")
    with pytest.raises(UserError, match="has 2 classes, but the model is built for 400: set model"):
        video_classes(root, num_classes=400)


def test_a_class_without_videos_is_logged(tmp_path, caplog):
    root = touch(tmp_path / "set", ["cat/a.mp4", "dog/readme.txt", "dog/b.gif", "dog/x/c.gif"])
    touch(root, ["cat/a.heic", "cat/cover.jpg"])
    assert len(video_classes(root)) == 2  # a folder of pictures is a video
    assert "ignored 4 files of other kinds (1 .gif, 1 .heic, 1 .jpg, 1 .txt)" in caplog.text
    touch(root, ["bird/readme.txt"])
    assert len(video_classes(root)) == 2 and "1 classes have no video: bird" in caplog.text
    none = touch(tmp_path / "none", ["cat/a.gif", "cat/b.heic"])
    with pytest.raises(
        UserError, match=r"only 2 files of other kinds \(1 .gif, 1 .heic\): add some"
    ):
        video_classes(none)


# -------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize("place", ["list", "working folder", "datasets", "given", "given, below"])
def test_root_of_the_paths_of_a_list(tmp_path, place):
    folders = {
        "list": "lists",
        "working folder": "elsewhere",
        "datasets": "datasets",
        "given": "videos",
        "given, below": "datasets/videos",
    }
    root = touch(tmp_path / folders[place], [*FILES, "dog/d.webm"])
    path = listed(tmp_path / "lists")
    options = {"given": dict(root=root), "given, below": dict(root="videos")}.get(place, {})
    found = video_classes(path, fps=12.5, **options)
    names = [str(root / line.rpartition(" ")[0]) for line in LIST.splitlines()]
    assert items(found) == list(zip(names, [0, 0, 1, 2]))
    assert found[-1] == dict(file_name=names[-1], label=2, clip=0, clips=1, fps=12.5)
    assert found.classes == ["0", "1", "2"] == video_class_folders(path)
    with pytest.raises(IndexError):
        found[4]


def test_absolute_paths(tmp_path):
    root = touch(tmp_path / "set", FILES)
    path = listed(tmp_path, f"{root}/cat/a.mp4 1\n{root}/eel/e 0\n")
    assert items(video_classes(path)) == [(f"{root}/cat/a.mp4", 1), (f"{root}/eel/e", 0)]


def test_names_and_range_of_class_indices(tmp_path):
    touch(tmp_path, [*FILES, "dog/d.webm"])
    path = listed(tmp_path)
    assert video_classes(path, classes=["x", "y", "z"]).class_names == ["x", "y", "z"]
    assert video_classes(path, num_classes=400).classes[-1] == "399"
    assert len(video_classes(path, same_classes_as=listed(tmp_path, "a 6\n", "l2")).classes) == 7
    with pytest.raises(
        UserError, match=r"list.txt, line 4, has labels such as 2, but there are 2 classes, 0 to 1"
    ):
        video_classes(path, num_classes=2)


def test_missing_videos(tmp_path, caplog):
    root = touch(tmp_path / "set", FILES)
    path = listed(tmp_path)
    assert count_videos(path) == 4  # rows, since the root is not known
    found = video_classes(path, root=root, name="toy_clips", num_classes=3)
    assert found.labels.tolist() == [0, 0, 2] and found.missing == 1
    assert caplog.text.count("1 of 4 videos are not in") == 1
    assert "are left out: dog/d.webm" in caplog.text
    metadata = MetadataCatalog.get("toy_clips")
    assert (metadata.videos, metadata.missing_videos) == (3, 1)
    assert metadata.thing_classes == ["0", "1", "2"]
    other = touch(tmp_path / "other", ["x.mp4"])
    with pytest.raises(UserError, match="other exists, but not one of the 4 videos .*correct root"):
        video_classes(path, root=other)
    with pytest.raises(UserError, match="not one .*a.mp4.: give their folder as root"):
        video_classes(path)


def test_paths_that_cannot_be_searched(tmp_path, monkeypatch):
    root = touch(tmp_path / "set", FILES)
    with pytest.raises(UserError, match="not one of the 1 videos .*xxx.: correct root"):
        video_classes(listed(tmp_path, "x" * 300 + " 0\n"), root=root)
    with pytest.raises(UserError, match="not one of the 1 videos .*xxx.: give their folder"):
        video_classes(listed(tmp_path, "x" * 300 + " 0\n"))
    with pytest.raises(UserError, match="a.mp4 is a file, so none of the 4 videos"):
        video_classes(listed(tmp_path), root=root / "cat" / "a.mp4")
    with pytest.raises(
        UserError, match=r"a.mp4 cannot be read \(Not a directory\): correct `root`"
    ):
        video_classes(listed(tmp_path, KINETICS, "val.csv"), root=root / "cat" / "a.mp4")

    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "listdir", refuse)  # its files may be there all the same
    assert len(video_classes(listed(tmp_path), root=root)) == 3


@pytest.mark.parametrize("wrong", [dict(fps=0), dict(clips=0), dict(clips=2.5)])
def test_invalid_arguments(tmp_path, wrong):
    [(name, value)] = wrong.items()
    with pytest.raises(UserError, match=f"{name}={value!r} of video_classes must be a"):
        video_classes(touch(tmp_path / "set", FILES), **wrong)


def test_several_clips_of_each_video(tmp_path):
    root = touch(tmp_path / "set", ["cat/a.mp4", "dog/b.mp4"])
    found = video_classes(root, clips=3, fps=12.5)
    one = video_classes(root, fps=12.5)
    places = [(video, clip) for video in range(2) for clip in range(3)]
    expected = [{**one[video], "clip": clip, "clips": 3} for video, clip in places]
    assert len(found) == 6 and list(found) == expected and found[-1] == expected[-1]
    assert found.labels.tolist() == [0, 1] and (one[1]["clip"], one[1]["clips"]) == (0, 1)
    # as configs have it that were saved before `clips` was an argument
    node = dict(_target_="mvit_det.data.video_classes", source=str(root), fps=12.5)
    views = L(video_views)(dataset=OmegaConf.create(node), clips=3)
    views._target_ = "mvit_det.data.video_views"
    assert instantiate(views) == expected


def test_each_folder_is_listed_once(tmp_path, monkeypatch):
    root = touch(tmp_path / "set", [f"{kind}/{i}.mp4" for kind in "abc" for i in range(20)])
    text = "".join(f"{kind}/{i}.mp4 {i % 3}\n" for i in range(20) for kind in "abc")
    folders, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: folders.append(folder) or listdir(folder))
    assert len(video_classes(listed(tmp_path, text), root=root)) == 60
    assert sorted(folders) == [f"{root}/{kind}" for kind in "abc"]


def test_repeated_rows(tmp_path, caplog):
    root = touch(tmp_path / "set", FILES)
    path = listed(tmp_path, "cat/a.mp4 0\neel/e 1\ncat/a.mp4 0\n")
    assert video_classes(path, root=root).labels.tolist() == [0, 1]
    assert "ignored 1 rows that repeat a video" in caplog.text
    path = listed(tmp_path, "cat/a.mp4 0\neel/e 1\ncat/a.mp4 2\n")
    with pytest.raises(UserError, match="a.mp4 has the label 0 in line 1 and 2 in line 3: delete"):
        video_classes(path, root=root)


# ------------------------------------------------------------------------ videos called by their id

KINETICS = """label,youtube_id,time_start,time_end,split
"air drumming",aaaaaaaaaaa,1,11,val
abseiling,bbbbbbbbbbb,20,30,val
zumba,ccccccccccc,3,13,val
zumba,ddddddddddd,3,13,val
"""
TRIMMED = ["aaaaaaaaaaa_000001_000011", "bbbbbbbbbbb_000020_000030", "ccccccccccc_000003_000013"]


@pytest.mark.parametrize("layout", ["flat", "classes", "val/classes", "frames"])
def test_kinetics(tmp_path, layout, caplog):
    names = {
        "flat": [f"{TRIMMED[0]}.mp4", f"{TRIMMED[1]}.mkv", f"{TRIMMED[2]}.webm", "x/more.mp4"],
        "classes": [f"{kind}/{name}.mp4" for kind, name in zip("xyz", TRIMMED)],
        "val/classes": [f"val/{kind}/{name}.mp4" for kind, name in zip("xyz", TRIMMED)],
        "frames": [f"{name}/img_00001.jpg" for name in TRIMMED],
    }[layout]
    root = touch(tmp_path / "set", names)
    found = video_classes(listed(tmp_path, KINETICS, "val.csv"), root=root, num_classes=3)
    expected = [os.path.dirname(name) if layout == "frames" else name for name in names][:3]
    assert items(found) == [(f"{root}/{name}", label) for name, label in zip(expected, (1, 0, 2))]
    assert found.classes == ["abseiling", "air drumming", "zumba"]
    assert "1 of 4 videos are not in" in caplog.text and "ddddddddddd_000003_000013" in caplog.text
    known = video_classes(tmp_path / "val.csv", root=root, classes="kinetics-400")
    assert known.labels.tolist() == [1, 0, 399]


def test_kinetics_without_any_video(tmp_path):
    path = listed(tmp_path, KINETICS, "val.csv")
    with pytest.raises(
        UserError, match=r"not one of the 4 videos .*_000011.mp4, .webm, ... or a fo"
    ):
        video_classes(path, root=touch(tmp_path / "set", ["x.mp4"]))


@pytest.mark.parametrize("layout", ["webm", "frames", "list of frames"])
def test_something_something(tmp_path, layout):
    path = write_something(tmp_path)
    if layout == "webm":
        root = touch(tmp_path / "20bn-something-something-v2", ["3.webm", "7.webm", "9.webm"])
        names = ["7.webm", "3.webm"]
    else:
        root = touch(tmp_path / "frames", ["3/3_000001.jpg", "7/7_000001.jpg", "5/5_000001.jpg"])
        names = ["7", "3"]
    if layout == "list of frames":
        path = listed(tmp_path, frames_of(names), "train.csv")
    for options in (dict(root=root), {})[: 1 if layout == "list of frames" else 2]:
        found = video_classes(path, num_classes=3, **options)
        assert items(found) == [(f"{root}/{name}", label) for name, label in zip(names, (2, 0))]
        assert found.class_names == TEMPLATES
    both = video_classes(
        path, root=root, same_classes_as=tmp_path / "something-something-v2-train.json"
    )
    assert both.class_names == TEMPLATES


def test_classes_reach_the_config(tmp_path):
    """Also in an older config, with `video_views`; the videos may be absent."""
    node = dict(_target_="mvit_det.data.video.datasets.video_classes", source=str(listed(tmp_path)))
    names = [entry["name"] for entry in dataset_categories(dict(dataset=node, clips=5))]
    assert names == ["0", "1", "2"]
    assert dataset_categories(node | dict(classes="kinetics-400"))[0]["name"] == "abseiling"
    assert dataset_categories(node | dict(source="no")) is None


def test_copies_for_workers_are_small(tmp_path):
    text = "".join(f"class/video_{i:06d}.mp4 {i % 3}\n" for i in range(300))
    root = touch(tmp_path / "set", [line.split()[0] for line in text.splitlines()])
    found = video_classes(listed(tmp_path, text), root=root)
    assert len(pickle.dumps(found)) < 300 * (len("class/video_000000.mp4") + 17) + 1000
    assert pickle.loads(pickle.dumps(found))[299] == found[299]


def test_a_class_folder_whose_name_is_not_utf8(tmp_path):
    for name in ("caf\udce9", "tea"):
        try:
            (tmp_path / name).mkdir()
        except OSError:
            pytest.skip("this file system has only names in UTF-8")
        (tmp_path / name / "1.mp4").touch()
    with pytest.raises(UserError, match=r"names are not UTF-8 \(caf\\xe9\): rename them"):
        video_classes(tmp_path)
