"""Suspicious data are said in one line: what, how many, what to do; good data warn of nothing."""

import logging
import re
import unicodedata
from pathlib import Path

import pytest
from image_sets import jpeg, write_folders, write_tar

from mvit_det.data import (
    action_clips,
    image_classes,
    motion_clips,
    moving_figures,
    shape_classes,
    video_classes,
)
from mvit_det.errors import UserError

FRAMES = [f"img_{number:05}.jpg" for number in range(1, 9)]
FLOW = [f"flow_{axis}_{number:05}.jpg" for axis in "xy" for number in range(1, 9)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    monkeypatch.chdir(tmp_path)


def write(root: str, *names: str) -> str:
    write_folders(Path(root), dict.fromkeys(names, b""))
    return root


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]


def frames(names: list[str], count: int) -> str:
    """A list of three folders of frames, as MMAction2 writes it."""
    rows = []
    for video in "abc":
        write(f"frames/{video}", *names)
        rows.append(f"frames/{video} {count} {len(rows) % 2}\n")
    Path("list.txt").write_text("".join(rows))
    return "list.txt"


def test_good_data_warn_of_nothing(caplog):
    write(
        "images", "cat/a.jpg", "dog/b.jpg", "dog/.DS_Store", "train/c.jpg"
    )  # a means of transport
    assert image_classes("images").classes == ["cat", "dog", "train"]
    assert image_classes(write("railways", "train/a.jpg")).classes == ["train"]
    shape_classes("train", num_train=24, num_val=4)
    assert len(video_classes(frames(FRAMES, 8))) == 3
    assert len(video_classes(frames(FRAMES, 7))) == 3  # published lists are off by one
    motion_clips("val", num_train=10, num_val=10)
    moving_figures("train", num_train=4, num_val=4)
    assert not warnings(caplog)


@pytest.mark.parametrize("layout", ["folders", "tar"])
def test_what_archives_of_a_mac_contain(layout, caplog):
    names = ["cat/a.jpg", "cat/._a.jpg", "dog/b.jpg", "__MACOSX/cat/._a.jpg", "__MACOSX/c.jpg"]
    files = dict.fromkeys(names, jpeg(1))
    if layout == "tar":
        write_tar(Path("set.tar"), files)
        found, said = image_classes("set.tar"), "set.tar: ignored 3 hidden files."
    else:
        found = image_classes(write_folders(Path("set"), files))
        said = "set: ignored 1 hidden files and the folder __MACOSX of the operating system."
    assert found.classes == ["cat", "dog"] and len(found) == 2
    assert warnings(caplog) == [said]


def test_hidden_videos(caplog):
    write("set", "cat/a.mp4", "cat/._a.mp4", "dog/e/1.jpg", "dog/e/._1.jpg", "@eaDir/x.mp4")
    assert len(video_classes("set")) == 2
    [said] = warnings(caplog)
    assert "2 hidden files and the folder @eaDir of the operating system" in said


def test_the_folder_above_the_training_data(caplog):
    write("set", "train/cat/a.jpg", "val/cat/a.jpg")
    sentence = "has the folders train, val, the parts of a data set, .* give .*s.*/train; if they"
    with pytest.raises(UserError, match=sentence):
        image_classes("set")
    with pytest.raises(UserError, match=sentence):
        video_classes(write("videos", "train/cat/a.mp4", "val/dog/a.mp4"))
    assert image_classes("set", classes=["train", "val"]).classes == ["train", "val"]
    assert not warnings(caplog)
    image_classes(write("set", "notes/a.jpg"))
    [said] = warnings(caplog)
    assert "2 of its 3 class folders are named as parts of a data set (train, val): if they" in said


def test_class_names_that_look_alike(caplog):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    write("twice", f"{composed}/a.jpg", f"{decomposed}/b.jpg", "bar/c.jpg")
    image_classes("twice")
    [said] = warnings(caplog)
    assert "1 classes are written in several ways, which differ only in case or Unicode" in said
    # in two splits they are one class
    caplog.clear()
    write("train", f"{composed}/a.jpg", "bar/c.jpg")
    write("val", f"{decomposed}/a.jpg", "bar/c.jpg")
    with caplog.at_level(logging.INFO):
        found = image_classes("val", same_classes_as="train")
    assert sorted(found.labels.tolist()) == [0, 1] and found.classes == ["bar", composed]
    assert "1 classes are written in another way" in caplog.text and not warnings(caplog)


@pytest.mark.parametrize("names, count, said", [
    (FRAMES + FLOW, 8, "3 of 3 checked folders hold several kinds of pictures, .* keep one kind"),
    (FRAMES, 30, "3 of 3 checked folders hold another number .*frames/a has 8, the list says 30"),
    (FRAMES, 10**30, "hold another number"),
])  # fmt: skip
def test_frames_that_a_list_does_not_count(names, count, said, caplog):
    video_classes(frames(names, count))
    [line] = warnings(caplog)
    assert re.search(said, line), line


def test_a_third_of_the_videos_of_a_list(caplog):
    write("set", *(f"{number}.mp4" for number in range(10)))
    for listed, hint in ((11, False), (15, True)):
        Path("set/list.txt").write_text("".join(f"{n}.mp4 {n % 2}\n" for n in range(listed)))
        caplog.clear()
        video_classes("set/list.txt")
        [said] = warnings(caplog)
        assert f"{listed - 10} of {listed} videos are not in" in said
        assert ("is that the folder of this list?" in said) is hint


LISTS = {
    "paths": ("a.txt", "{0}.mp4 0\n", ""),
    "frames": ("a.txt", "{0} 8 0\n", ""),
    "kinetics": ("a.csv", "run,{0},1,2,train\n", "label,youtube_id,time_start,time_end,split\n"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_whose_videos_are_mostly_missing(kind, caplog):
    file, row, head = LISTS[kind]
    write("set", "0.mp4", "0/1.jpg", "0_000001_000002.mp4")
    Path("set", file).write_text(head + "".join(row.format(number) for number in range(4)))
    sentence = (
        rf"{file}: 3 of 4 videos are not in .*set \(1.*, more than max_missing=0.5 allows: corr"
    )
    with pytest.raises(UserError, match=sentence):
        video_classes(f"set/{file}")
    assert len(video_classes(f"set/{file}", max_missing=0.75)) == 1
    assert f"{file}: 3 of 4 videos are not in" in caplog.text
    with pytest.raises(UserError, match="max_missing=2 of video_classes must be from 0 to 1"):
        video_classes(f"set/{file}", max_missing=2)


def test_actions_of_one_split_and_videos_of_two_folders(caplog):
    write("videos", "one/a.mp4", "two/a.mp4")
    Path("a.csv").write_text("a,1,0.1,0.1,0.5,0.5,1,0\na,2,0.1,0.1,0.5,0.5,3,0\n")
    action_clips("videos", actions="a.csv", num_classes=3)
    said = warnings(caplog)
    assert "a.csv: no box shows action 2." in said[0]
    assert "videos has 1 videos in several folders, of which one is used" in said[1]
    assert len(said) == 2
