"""Samples of key frames: frames, boxes, and clips that cannot be read."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from video_files import numbered_frames, numbers, write_frame_folder, write_video

from mvit_det.data import (
    ActionClipMapper,
    KeyFrameSampling,
    StackActionClips,
    action_test_transform,
    action_train_transform,
    build_train_loader,
)
from mvit_det.errors import UserError

FRAMES = 90  # three seconds
BOXES = np.array([[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.5]], np.float32)
LABELS = np.array([[0, 1, 1], [0, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("set") / "x.mp4", numbered_frames(FRAMES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_frame_folder(tmp_path_factory.mktemp("set") / "x", numbered_frames(FRAMES))


def item(path, time, boxes=BOXES, labels=LABELS, **more):
    known = {"file_name": str(path), "video": "x", "second": time + 900, "time": time}
    return {**known, "boxes": boxes, "labels": labels, **more}


def untouched(frames, boxes):
    """Pixel values, and boxes in pixels."""
    assert frames.dtype == np.uint8 and frames.shape[3] == 3
    height, width = frames.shape[1:3]
    boxes = boxes * np.array([width, height] * 2, np.float32)
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float(), torch.from_numpy(boxes)


def frame_indices(clip: torch.Tensor) -> list[int]:
    return numbers(clip.permute(1, 2, 3, 0).numpy())


def make_mapper(is_train=True, **options):
    options.setdefault("sampling", KeyFrameSampling(4, 3))
    options.setdefault("transform", untouched if is_train else action_test_transform((4, 24, 24)))
    return ActionClipMapper(is_train, **options)


def logged(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "mvit_det.data.bad_samples"]


# ------------------------------------------------------------------------------------------ samples


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_a_training_sample(kind, request):
    path = request.getfixturevalue(kind)
    sample = make_mapper()(item(path, 1.0))
    assert sample.keys() == {"inputs", "boxes", "labels", "file_name"}
    assert frame_indices(sample["inputs"]) == [24, 27, 30, 33]
    assert sample["boxes"].tolist() == [[16, 24, 48, 48], [0, 0, 32, 24]]
    assert sample["labels"].tolist() == LABELS.tolist() and sample["labels"].dtype == torch.float32
    assert sample["file_name"] == str(path)


def test_a_testing_sample_has_the_entries_for_evaluation(video):
    sample = make_mapper(False)(item(video, 1.0))
    assert sample["inputs"].shape == (3, 4, 24, 24)
    assert (sample["video"], sample["second"], sample["unreadable"]) == ("x", 901.0, None)
    assert sample["original_boxes"].tolist() == BOXES.tolist()
    assert sample["original_boxes"].dtype == sample["boxes"].dtype == torch.float32
    assert sample["boxes"].tolist() == [[4, 12, 20, 23], [0, 0, 12, 12]]
    assert sample["visible_area"].tolist() == [0.125, 0, 0.875, 1]
    sample["original_boxes"] += 1  # a copy: the data set's own boxes are shared
    assert BOXES.max() == 1


@pytest.mark.parametrize("kind", ["video", "folder"])
@pytest.mark.parametrize(
    "time, frames",
    [
        (0.0, [0, 0, 0, 3]),
        (-0.9, [0, 0, 0, 0]),
        (2.9, [81, 84, 87, 89]),
        (3.0, [84, 87, 89, 89]),
        (3.9, [89, 89, 89, 89]),
    ],
)
def test_key_frames_at_the_ends(kind, time, frames, request):
    sample = make_mapper()(item(request.getfixturevalue(kind), time))
    assert frame_indices(sample["inputs"]) == frames


@pytest.mark.parametrize("fps, frames", [(30, [24, 27, 30, 33]), (60, [48, 54, 60, 66])])
def test_other_rates_give_the_same_seconds(tmp_path, folder, fps, frames):
    path = write_video(tmp_path / "y.mp4", numbered_frames(FRAMES), fps)
    assert frame_indices(make_mapper()(item(path, 1.0))["inputs"]) == frames
    assert frame_indices(make_mapper()(item(folder, 1.0, fps=float(fps)))["inputs"]) == frames


@pytest.mark.parametrize("is_train", [True, False])
def test_no_boxes(video, is_train):
    none = item(video, 1.0, np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32))
    sample = make_mapper(is_train)(none)
    assert sample["boxes"].shape == (0, 4) and sample["labels"].shape == (0, 3)
    assert is_train or sample["original_boxes"].shape == (0, 4)


def test_the_same_seed_makes_the_same_sample_and_repeats_differ(video):
    mapper = make_mapper(transform=action_train_transform((4, 24, 24), short_side=(30, 40)))
    made = []
    for copy in (mapper, pickle.loads(pickle.dumps(mapper))):
        np.random.seed(3)
        made.append(copy(item(video, 1.0)))
    assert torch.equal(made[0]["inputs"], made[1]["inputs"])
    assert torch.equal(made[0]["boxes"], made[1]["boxes"])
    repeats = mapper.repeated(item(video, 1.0), 4)
    assert len({tuple(sample["boxes"].flatten().tolist()) for sample in repeats}) > 1


# ---------------------------------------------------------------------------------------- bad clips


@pytest.mark.parametrize("crop", ["center", "full"])
def test_a_bad_video_in_testing(tmp_path, caplog, video, crop):
    mapper = make_mapper(False, transform=action_test_transform((4, 24, 24), crop=crop))
    missing = item(tmp_path / "no.mp4", 1.0)
    sample = mapper(missing)
    assert sample["unreadable"] == "the file does not exist"
    assert sample.keys() == mapper(item(video, 1.0)).keys()
    assert sample["inputs"].shape == (3, 4, 24, 24) and not sample["inputs"].any()
    assert sample["boxes"].shape == (2, 4) and sample["original_boxes"].tolist() == BOXES.tolist()
    assert sample["labels"].tolist() == LABELS.tolist()
    mapper(item(tmp_path / "no.mp4", 2.0)), mapper(missing)
    assert logged(caplog) == [  # once, and not for each second
        f"Clip {tmp_path / 'no.mp4'} at second 901 is left out, so that its people count as not "
        "found: the file does not exist"
    ]


def test_a_bad_video_in_training(tmp_path, caplog, video):
    mapper = make_mapper(max_bad_share=0.5, min_seen=4)
    assert mapper(item(video, 1.0)) is not None and mapper(item(video, 2.0)) is not None
    assert mapper(item(tmp_path / "no.mp4", 1.0)) is None
    assert mapper(item(tmp_path / "no.mp4", 2.0)) is None
    assert len(logged(caplog)) == 1 and "is skipped: the file does not exist" in caplog.text
    with pytest.raises(UserError, match="^3 of the 5 clips .*no.mp4 at second 901: the file does"):
        mapper(item(tmp_path / "no.mp4", 3.0))


@pytest.mark.parametrize("time", [-1.5, 4.5, 900.0, float("nan")])
def test_a_key_frame_far_outside_of_its_video(video, caplog, time):
    assert make_mapper()(item(video, time)) is None
    sample = make_mapper(False)(item(video, time))
    assert "the file has only the seconds" in sample["unreadable"]
    if time == 900.0:
        assert sample["unreadable"] == (
            "the file has only the seconds 900 to 903, if it begins at second 900"
        )
    assert sample["boxes"].shape == (2, 4) and sample["inputs"].shape[1] == 4


def test_a_key_frame_in_a_gap_of_a_folder(tmp_path):
    """Seconds 3 to 7 of nine are missing; a video with that pause shows one frame all the time."""
    pixels = numbered_frames(FRAMES)
    folder = write_frame_folder(tmp_path / "x", pixels)
    for number in range(30, 70):
        (folder / f"{number + 1:05d}.jpg").unlink()
    mapper = make_mapper(sampling=KeyFrameSampling(4, 3, target_fps=10))
    assert mapper(item(folder, 5.0, fps=10)) is None
    assert frame_indices(mapper(item(folder, 3.5, fps=10))["inputs"]) == [29, 29, 29, 29]
    assert frame_indices(mapper(item(folder, 7.3, fps=10))["inputs"]) == [29, 70, 73, 76]
    kept = np.r_[0:30, 70:FRAMES]
    video = write_video(tmp_path / "x.mp4", pixels[kept], times=kept / 10)
    assert frame_indices(mapper(item(video, 4.5))["inputs"]) == [29, 29, 29, 29]


def test_a_damaged_picture_makes_only_its_clips_bad(tmp_path, caplog):
    folder = write_frame_folder(tmp_path / "x", numbered_frames(FRAMES))
    (folder / "00031.jpg").write_bytes(b"damaged")
    mapper = make_mapper(False)
    assert mapper(item(folder, 0.5))["unreadable"] is None
    assert "frame 30 (00031.jpg) cannot be read" in mapper(item(folder, 1.0))["unreadable"]
    assert mapper(item(folder, 2.0))["unreadable"] is None
    Image.new("RGB", (20, 20)).save(folder / "00031.jpg")
    assert "differ in size" in mapper(item(folder, 1.0))["unreadable"]


class Wrong:
    """A sampling that chooses a frame that does not exist, or fails."""

    def __init__(self, chosen):
        self.chosen = chosen

    def around(self, times, time):
        return np.array(self.chosen) // 1 if self.chosen is not None else 1 // 0


def test_an_error_of_the_program_is_not_a_bad_clip(video):
    name = "Clip .*x.mp4 at second 901"
    with pytest.raises(RuntimeError, match=f"{name} reads well, but its transform failed: Zero"):
        make_mapper(transform=lambda frames, boxes: 1 / 0)(item(video, 1.0))
    with pytest.raises(RuntimeError, match=f"{name} reads well, but choosing among its 90 .*Zero"):
        make_mapper(sampling=Wrong(None))(item(video, 1.0))
    with pytest.raises(RuntimeError, match=f"{name} has 90 frames, but Wrong chose"):
        make_mapper(sampling=Wrong([3, 90]))(item(video, 1.0))


# ------------------------------------------------------------------------------------------ batches


def sample_of(count, width=6):
    return {
        "inputs": torch.full((3, 2, 4, width), float(count)),
        "boxes": torch.full((count, 4), float(count)),
        "labels": torch.zeros(count, 5),
        "second": 902.0,
        "unreadable": None,
    }


def test_batches():
    batch = StackActionClips()([sample_of(2), sample_of(0), sample_of(1)])
    assert batch["inputs"].shape == (3, 3, 2, 4, 6)
    assert [clip.unique().item() for clip in batch["inputs"]] == [2, 0, 1]
    assert [boxes.tolist() for boxes in batch["boxes"]] == [[[2.0] * 4] * 2, [], [[1.0] * 4]]
    assert [labels.shape for labels in batch["labels"]] == [(2, 5), (0, 5), (1, 5)]
    assert batch["second"] == [902.0] * 3 and batch["unreadable"] == [None] * 3
    pieces = {boxes.untyped_storage().data_ptr() for boxes in batch["boxes"]}
    assert len(pieces) == 1
    mixed = StackActionClips()([sample_of(1), sample_of(1, width=8)])
    assert [clip.shape for clip in mixed["inputs"]] == [(3, 2, 4, 6), (3, 2, 4, 8)]


def test_in_a_loader(video, folder):
    none = np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32)
    items = [item(video, 1.0), item(folder, 2.0, *none), item(video, 0.0)]
    mapper = make_mapper(transform=action_train_transform((4, 24, 24), short_side=(24, 30)))
    made = []
    for workers in (0, 1):
        loader = build_train_loader(
            items,
            mapper=mapper,
            total_batch_size=3,
            num_workers=workers,
            collate=StackActionClips(),
            seed=1,
        )
        made.append(next(iter(loader)))
    assert made[0]["inputs"].shape == (3, 3, 4, 24, 24)
    assert sorted(len(boxes) for boxes in made[0]["boxes"]) == [0, 2, 2]
    assert torch.equal(made[0]["inputs"], made[1]["inputs"])
    for ours, theirs in zip(made[0]["boxes"], made[1]["boxes"]):
        assert torch.equal(ours, theirs)
