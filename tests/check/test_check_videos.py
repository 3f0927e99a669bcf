"""The check of videos and of action data: planted faults are found, and nothing more."""

import shutil

import pytest
from action_files import LEFT_TEXT, write_csv, write_text
from check_runs import check, found
from video_files import cut_short, numbered_frames, write_video

TINY = ["model.backbone.embed_dim=16", "dataloader.train.num_workers=0"]


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))


@pytest.mark.parametrize("name, train, val", [("video", 20, 10), ("actions", 8, 2)])
def test_the_quickstarts_have_no_finding(tmp_path, name, train, val):
    counts = [
        f"dataloader.{split}.dataset.{key}={count}"
        for split in ("train", "test")
        for key, count in (("num_train", train), ("num_val", val))
    ]
    status, report = check(tmp_path / "out", f"quickstart_{name}.py", "--full", *counts, *TINY)
    assert (status, report["findings"]) == (0, [])
    assert report["files"] == {"train": train, "test": val}


def test_planted_faults_of_class_folders(tmp_path):
    number = 0
    for split, count in (("train", 4), ("val", 2)):
        for name in ("cat", "dog"):
            for index in range(count):
                path = tmp_path / split / name / f"{index}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                frames = numbered_frames(60, 64, 80, first=60 * number)
                write_video(path, frames, index_first=True)
                number += 1
    train = tmp_path / "train"
    shutil.copy(train / "dog/0.mp4", tmp_path / "val/dog/copy.mp4")
    (train / "eel").mkdir()
    write_video(train / "eel/rotated.mp4", numbered_frames(60, 64, 80), rotation=90)
    cut_short(train / "cat/1.mp4", 0.8)
    (train / "cat/2.mp4").write_text("<html>not found</html>")
    write_video(train / "cat/3.mp4", numbered_frames(5, 64, 80))
    status, report = check(
        tmp_path / "out",
        "quickstart_video.py",
        *f"--train-videos {train} --val-videos {tmp_path}/val".split(),
        "dataloader.train.total_batch_size=2",
        *TINY,
    )
    assert status == 1 and report["files"] == {"train": 9, "test": 5}
    assert found(report) == [
        ("error", "unreadable video", "2.mp4"),
        ("note", "rotated video", "rotated.mp4"),
        ("warning", "class in one split", "", "eel"),
        ("warning", "data set", ""),  # val has no video of eel
        ("warning", "near-duplicate", "copy.mp4"),
        ("warning", "short video", "3.mp4"),
        ("warning", "video ends early", "1.mp4"),
    ]


def test_planted_faults_of_action_data(tmp_path):
    for number, name in enumerate("abcde"):
        path = tmp_path / "videos" / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, numbered_frames(50, 128, 128, first=50 * number), 10, index_first=True)
    rows = {
        "train": [f"{name},{second},{LEFT_TEXT},{action},0"
                  for name in "abc" for second in (1, 2, 3, 4) for action in (1, 2, 3)],
        "val": [f"{name},{second},{LEFT_TEXT},{action},0"
                for name in "de" for second in (1, 2, 3) for action in (1, 2, 3)],
    }  # fmt: skip
    rows["train"] += ["a,2,0.5,0.5,0.4,0.9,1,0", "a,9,0.5,0.5,0.9,0.9,1,0"]
    rows["val"] += ["d,3,0.5,0.5,1.4,0.9,1,0", rows["val"][0]]
    files = {split: write_csv(tmp_path / f"{split}.csv", lines) for split, lines in rows.items()}
    names = write_text(tmp_path / "map.txt", "1: stand\n3: sit\n")
    cut_short(tmp_path / "videos/e.mp4", 0.8)
    videos = [f"--{split}-videos {tmp_path}/videos" for split in files]
    actions = [f"--{split}-actions {file}" for split, file in files.items()]
    status, report = check(
        tmp_path / "out",
        "quickstart_actions.py",
        *" ".join([*videos, *actions, f"--label-map {names}"]).split(),
        "dataloader.train.total_batch_size=2",
        *TINY,
    )
    assert status == 1 and report["files"] == {"train": 3, "test": 2}
    summaries = [row for row in found(report) if row[1] == "data set"]
    assert {row[0] for row in summaries} == {"note"}
    assert [row for row in found(report) if row not in summaries] == [
        ("error", "box without area", "train.csv", 37, "a", 2.0),
        ("error", "key frame outside", "a.mp4", 9.0),
        ("note", "action outside label map", "train.csv", 2),
        ("note", "action outside label map", "val.csv", 2),
        ("warning", "box beyond frame", "val.csv", 19, "d", 3.0),
        ("warning", "repeated row", "val.csv", 20, "d", 1.0),
        ("warning", "video ends early", "e.mp4"),
    ]
