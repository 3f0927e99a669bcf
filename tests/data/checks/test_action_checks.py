"""One planted fault per kind of finding, in action data that are faultless otherwise."""

import pickle

import numpy as np
import pytest
from action_files import LEFT_TEXT, write_actions, write_clips, write_csv, write_text
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf
from video_files import write_video

from mvit_det.data import KeyFrameSampling, action_clips
from mvit_det.data.checks.actions import CsvFiles, KeyFramesCheck
from mvit_det.tasks import ActionDetection

PROPOSALS = [f"{video},{second:04d},{LEFT_TEXT},,0.9" for video in "ab" for second in (1, 2, 3)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("set") / "videos", ["a", "b"])


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))


def data_set(tmp_path, actions="", proposals="", excluded="", label_map="1: stand\n3: bend\n"):
    """Write faultless files with the given rows added; returns their paths."""
    csv = write_actions(tmp_path / "actions.csv", "ab")
    csv.write_text(csv.read_text() + actions)
    return dict(
        actions=[str(csv)],
        proposals=[str(write_csv(tmp_path / "proposals.csv", [*PROPOSALS, *proposals.split()]))],
        excluded=str(write_csv(tmp_path / "excluded.csv", ["a,0004", "b,0000", *excluded.split()])),
        label_map=str(write_text(tmp_path / "map.txt", label_map)),
        annotated_boxes=False,
    )


def found(files):
    findings = list(CsvFiles(**files).findings())
    assert all("\n" not in each.message and ":" in each.message for each in findings)
    assert all(each.file in map(str, [*files["actions"], *files["proposals"], *files.values()])
               for each in findings)  # fmt: skip
    return [(each.severity, each.kind, dict(each.ids)) for each in findings]


# an added row, or a changed file -> severity, kind and ids
ROW = dict(line=19, video="a", second=2.0)
FAULTS = {
    "without area": (
        dict(actions="a,0002,0.5,0.5,0.5,0.9,1,0\n"),
        ("error", "box without area", ROW),
    ),
    "outside": (
        dict(actions="a,0002,1.1,0.5,1.5,0.9,1,0\n"),
        ("error", "box outside frame", ROW),
    ),
    "beyond": (
        dict(actions="a,0002,0.5,0.5,1.5,0.9,1,0\n"),
        ("warning", "box beyond frame", ROW),
    ),
    "a proposal beyond": (
        dict(proposals="a,0002,0.5,0.5,1.5,0.9,,0.9"),
        ("warning", "box beyond frame", dict(ROW, line=7)),
    ),
    "repeated": (
        dict(actions=f"a,0002,{LEFT_TEXT},1,7\n"),
        ("warning", "repeated row", ROW),
    ),
    "proposals of no video": (
        dict(proposals=f"c,0002,{LEFT_TEXT},,0.9"),
        ("warning", "proposals of unknown video", dict(video="c")),
    ),
    "no proposal": (
        dict(actions=f"a,0005,{LEFT_TEXT},1,7\n"),
        ("note", "key frame without proposal", {}),
    ),
    "excluded, with labels": (
        dict(excluded="a,0002"),
        ("note", "excluded key frame with labels", {}),
    ),
    "excluded, of no video": (
        dict(excluded="c,0002"),
        ("warning", "excluded key frame of unknown video", {}),
    ),
    "outside the label map": (
        dict(label_map="1: stand\n"),
        ("note", "action outside label map", dict(action=3)),
    ),
}


def test_faultless_files_have_no_finding(tmp_path):
    assert found(data_set(tmp_path)) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_file(tmp_path, name):
    change, expected = FAULTS[name]
    assert found(data_set(tmp_path, **change)) == [expected]


def checked(path, times, **options):
    check = pickle.loads(pickle.dumps(KeyFramesCheck(str(path), times=np.array(times), **options)))
    return [(each.kind, each.ids.get("second")) for each in check.run().findings]


def test_key_frames_outside_of_a_video(videos):
    assert checked(videos / "a.mp4", [0, 2, 4.9]) == []
    assert checked(videos / "a.mp4", [2, 5.1, 7], start=900) == [("key frame outside", 905.1)]


def test_key_frames_in_a_gap_of_a_folder(tmp_path):
    folder = write_clips(tmp_path, ["a"], frames=True) / "a"
    for number in range(16, 40):
        (folder / f"a_{number:06d}.jpg").unlink()
    assert checked(folder, [1, 2.7, 4], fps=10) == [
        ("key frame outside", 2.7),
        ("lost frames", None),
    ]


def test_a_damaged_video_with_key_frames_outside(tmp_path):
    path = write_clips(tmp_path, ["a"]) / "a.mp4"
    path.write_bytes(path.read_bytes()[:1000])
    assert checked(path, [1, 9]) == [("unreadable video", None)]


def config(videos, train, test):
    shared = dict(videos=str(videos), min_score=0.8, num_classes=3, max_missing=0.5)
    mapper = dict(sampling=L(KeyFrameSampling)(num_frames=4, sampling_rate=3))
    mapper["transform"] = dict(size=[4, 48, 48])
    loaders = {
        split: dict(dataset=L(action_clips)(**shared, **files), mapper=mapper)
        for split, files in (("train", train), ("test", test))
    }
    return OmegaConf.create({"dataloader": loaders}, flags={"allow_objects": True})


def test_the_task_checks_files_and_videos_of_a_split(tmp_path, videos):
    train = dict(actions=str(write_actions(tmp_path / "train.csv", ["a", "gone"])))
    rows = [f"b,0001,{LEFT_TEXT},1,0", f"b,0002,{LEFT_TEXT},2,0"]
    test = dict(actions=str(write_csv(tmp_path / "val.csv", rows)), annotated_boxes=False)
    cfg = config(videos, train, test)
    *findings, check = ActionDetection().check_files(cfg, "train")
    assert [(each.kind, *each.ids.values()) for each in findings] == [
        ("class in one split", "action 2"),
        ("class in one split", "action 3"),
        ("missing video", "gone"),
    ]
    assert findings[-1].file == train["actions"]
    assert check.path == str(videos / "a.mp4") and list(check.times) == [1, 2, 3]
    assert not check.run().findings
    (check,) = ActionDetection().check_files(cfg, "test")
    assert check.path == str(videos / "b.mp4") and not check.run().findings


def test_equal_videos_of_other_names(tmp_path, videos):
    copy = write_video(tmp_path / "c.mp4", np.zeros((40, 48, 64, 3), np.uint8), 10)
    one, two, other = (
        KeyFramesCheck(str(path)).run().digest
        for path in (videos / "a.mp4", videos / "b.mp4", copy)
    )
    assert one == two != other
