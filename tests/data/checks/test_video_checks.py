"""One planted fault per kind of finding, in videos that are faultless otherwise."""

import pickle
import shutil
import struct

import numpy as np
import pytest
from detectron2.config import LazyCall as L
from omegaconf import OmegaConf
from video_files import (
    cut_short,
    damage,
    numbered_frames,
    write_audio,
    write_frame_folder,
    write_video,
    write_without_frames,
)

from mvit_det.data import DenseSampling, SegmentSampling, video_classes
from mvit_det.data.checks.classes import class_findings
from mvit_det.data.checks.videos import VideoCheck, content_digest
from mvit_det.data.decoding.stream import VideoStream
from mvit_det.tasks import VideoClassification

FRAMES = numbered_frames(60)
GAP = [*np.arange(50) / 30, *(4 + np.arange(50) / 30)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Faultless videos of two seconds."""
    folder = tmp_path_factory.mktemp("whole")
    names = ("a.mp4", "a.mkv", "a.avi", "a.webm")
    for name in names:
        write_video(folder / name, FRAMES, index_first=True)
    write_frame_folder(folder / "frames", FRAMES)
    return folder


def copied(whole, tmp_path, name):
    copy = shutil.copytree if (whole / name).is_dir() else shutil.copy
    return type(tmp_path)(copy(whole / name, tmp_path / name))


def found(path, **options):
    check = pickle.loads(pickle.dumps(VideoCheck(str(path), **options)))
    report = check.run()
    assert all(each.file == str(path) for each in report.findings)
    assert all("\n" not in each.message and ":" in each.message for each in report.findings)
    return [(each.severity, each.kind) for each in report.findings]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.webm", "frames"])
def test_whole_videos_have_no_finding(whole, name):
    options = dict(sampling=DenseSampling(14, 4), side=48, full=True)
    assert found(whole / name, listed=60, **options) == []


def written(name, text):
    return lambda folder: (folder / name).write_text(text) and folder / name


def video(name, frames=FRAMES, **options):
    return lambda folder: write_video(folder / name, frames, **options)


def edited(folder):
    """Write an MP4 that plays its first second only, as a phone trims it."""
    path = write_video(folder / "v.mp4", FRAMES)
    content = bytearray(path.read_bytes())
    struct.pack_into(">I", content, content.index(b"elst") + 12, 1000)  # ms
    path.write_bytes(content)
    assert VideoStream(path).end < 1.1
    return path


UNREADABLE = ("error", "unreadable video")
FILES = {
    "absent": (lambda folder: folder / "none.mp4", UNREADABLE),
    "a web page": (written("page.mp4", "<html></html>"), UNREADABLE),
    "sound alone": (lambda folder: write_audio(folder / "audio.mp4"), UNREADABLE),
    "no frames": (lambda folder: write_without_frames(folder / "none.mp4"), UNREADABLE),
    "times": (
        video("v.mp4", FRAMES[:40], times=np.arange(40) ** 1.5),
        ("note", "variable frame rate"),
    ),
    "repeated frames": (
        video("v.avi", numbered_frames(12), times=[0, 0.5, *np.arange(1, 2, 0.1)]),
        ("note", "variable frame rate"),
    ),
    "edit list": (edited, None),
    "gap": (video("v.mp4", numbered_frames(100), times=GAP), ("warning", "gap between frames")),
    "rotated": (video("v.mp4", rotation=90), ("note", "rotated video")),
    "large": (video("v.mp4", numbered_frames(3, 642, 660)), ("note", "large frames")),
}


@pytest.mark.parametrize("name", FILES)
def test_a_fault_of_a_file(tmp_path, name):
    make, kind = FILES[name]
    assert found(make(tmp_path)) == ([kind] if kind else [])


CUTS = {
    "half": (lambda path: cut_short(path, 0.5), "a.mp4"),
    "the last frame": (lambda path: cut_short(path, 0.97), "a.mp4"),
    "half of a Matroska file": (lambda path: cut_short(path, 0.5), "a.mkv"),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_video_that_ends_early(whole, tmp_path, name):
    cut, original = CUTS[name]
    path = cut(copied(whole, tmp_path, original))
    assert found(path) == [("warning", "video ends early")]


def test_damage_between_the_decoded_frames_is_found_by_decoding_all(whole, tmp_path):
    path = damage(copied(whole, tmp_path, "a.mp4"), share=0.3, size=200)
    assert found(path) == [] and found(path, full=True) == [UNREADABLE]


@pytest.mark.parametrize("frames, kind", [(9, "warning"), (30, "note"), (60, None)])
@pytest.mark.parametrize("sampling", [DenseSampling(15, 4), SegmentSampling(32)])
def test_videos_shorter_than_a_clip(tmp_path, sampling, frames, kind):
    path = write_video(tmp_path / "v.mp4", FRAMES[:frames])
    assert found(path, sampling=sampling) == ([(kind, "short video")] if kind else [])


def test_frames_smaller_than_the_input(whole):
    assert found(whole / "a.mp4", side=64) == [("note", "small frames")]


FOLDERS = {
    "gap in the numbers": (
        lambda folder: (folder / "00021.jpg").unlink(), ("warning", "lost frames")
    ),
    "flow beside RGB": (
        lambda folder: write_frame_folder(folder, FRAMES, "flow_{:05d}.jpg"),
        ("warning", "mixed frames"),
    ),
    "fewer than listed": (
        lambda folder: [(folder / f"{n:05d}.jpg").unlink() for n in (59, 60)],
        ("warning", "number of frames"),
    ),
    "empty picture": (
        lambda folder: (folder / "00021.jpg").write_bytes(b""), ("error", "empty frames")
    ),
    "damaged last picture": (
        lambda folder: cut_short(folder / "00060.jpg"), UNREADABLE
    ),
    "another size": (
        lambda folder: write_frame_folder(folder, numbered_frames(1, 64, 96)), UNREADABLE
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_fault_of_a_folder(whole, tmp_path, name):
    spoil, kind = FOLDERS[name]
    folder = copied(whole, tmp_path, "frames")
    spoil(folder)
    assert found(folder, listed=60) == [kind]


def test_a_damaged_picture_is_found_by_decoding_all(whole, tmp_path):
    folder = copied(whole, tmp_path, "frames")
    cut_short(folder / "00021.jpg")
    assert found(folder) == [] and found(folder, full=True) == [UNREADABLE]


def test_digests_are_those_of_the_content(whole, tmp_path):
    names = ["a.mp4", "a.mkv", "frames"]
    copies = [content_digest(str(copied(whole, tmp_path, name))) for name in names]
    assert copies == [content_digest(str(whole / name)) for name in names]
    assert len(set(copies)) == 3 and max(copies) < 2**64
    assert content_digest(str(tmp_path / "none.mp4")) is None


def test_classes_of_both_splits():
    trained, tested = dict(cat=100, dog=10, eel=0, fox=50), dict(cat=3, dog=3, eel=2, fox=0)
    findings = list(class_findings(trained, tested, "videos"))
    assert [(each.severity, each.kind, each.ids.get("class")) for each in findings] == [
        ("warning", "class in one split", "eel"),
        ("warning", "class in one split", "fox"),
        ("note", "samples per class", None),
    ]
    assert not list(class_findings(dict(cat=90, dog=10), dict(cat=1, dog=9), "videos"))


def config(train, test):
    mapper = dict(sampling=L(DenseSampling)(num_frames=8, sampling_rate=4))
    mapper["transform"] = dict(size=[8, 48, 48])
    return OmegaConf.create(
        {
            "dataloader": {
                "train": dict(dataset=train, mapper=mapper),
                "test": dict(dataset=test, mapper=mapper),
            }
        },
        flags={"allow_objects": True},
    )


def test_the_task_names_rows_without_a_video_and_checks_the_others(whole, tmp_path):
    rows = [f"{whole}/a.mp4 0", f"{whole}/frames 1", "gone.mp4 1", f"{whole}/a.mkv 1"]
    (tmp_path / "train.txt").write_text("\n".join(rows))
    (tmp_path / "val.txt").write_text(f"{whole}/a.avi 0\n")
    train, val = (
        L(video_classes)(source=str(tmp_path / f"{split}.txt"), num_classes=2)
        for split in ("train", "val")
    )
    results = list(VideoClassification().check_files(config(train, val), "train"))
    checks = [each for each in results if isinstance(each, VideoCheck)]
    assert [each.path for each in checks] == [f"{whole}/{n}" for n in ("a.mp4", "frames", "a.mkv")]
    assert not any(each.run().findings for each in checks)
    findings = [each for each in results if each not in checks]
    assert [(each.kind, dict(each.ids)) for each in findings] == [
        ("class in one split", {"class": "1"}),
        ("missing video", {"video": "gone.mp4"}),
    ]
    assert findings[1].file == str(tmp_path / "train.txt")
    assert len(list(VideoClassification().check_files(config(train, val), "test"))) == 1
