"""Samples of videos on disk: the frames of the clip, repeats, and bad videos."""

import pickle
import random

import av
import numpy as np
import pytest
import torch
from video_files import (
    cut_short,
    numbered_frames,
    numbers,
    write_audio,
    write_frame_folder,
    write_video,
    write_without_frames,
)

from mvit_det.data import ClipMapper, clip_test_transform, clip_train_transform
from mvit_det.data.video import mapper as module
from mvit_det.data.video.sampling import DenseSampling, SegmentSampling
from mvit_det.errors import UserError

FRAMES = 40


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("set") / "x.mp4", numbered_frames(FRAMES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_frame_folder(tmp_path_factory.mktemp("set") / "x", numbered_frames(FRAMES))


def as_tensor(frames: np.ndarray) -> torch.Tensor:
    assert frames.dtype == np.uint8 and frames.shape[3] == 3
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float()


def frame_indices(clip: torch.Tensor) -> list[int]:
    """Read the frame indices from the pixel values of a clip (3, T, H, W)."""
    return numbers(clip.permute(1, 2, 3, 0).numpy())


def make_mapper(is_train=True, sampling=None, **options):
    options.setdefault("transform", as_tensor)
    return ClipMapper(is_train, sampling=sampling or DenseSampling(4, 2), **options)


def seeded(seed: int) -> None:
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)


# ------------------------------------------------------------------------------------------ samples


@pytest.mark.parametrize("sampling", [DenseSampling(4, 2), SegmentSampling(5)])
def test_training_clips_have_the_sampled_frames(video, folder, sampling):
    mapper = make_mapper(sampling=sampling)
    clips = set()
    for seed in range(6):
        for path in (video, folder):
            seeded(seed)
            sample = mapper({"file_name": str(path), "label": 3})
            assert sample.keys() == {"inputs", "labels", "file_name"}
            assert sample["labels"] == 3 and sample["file_name"] == str(path)
            seeded(seed)
            expected = sampling.train(np.arange(FRAMES) / 30).tolist()
            assert frame_indices(sample["inputs"]) == expected
        clips.add(tuple(expected))
    assert len(clips) > 3


def test_testing_clips_are_evenly_spaced(video):
    mapper = make_mapper(False)
    expected = {0: [0, 2, 4, 7], 1: [16, 18, 20, 23], 2: [32, 34, 36, 39]}  # 8 of 40, 16 apart
    for clip, frames in expected.items():
        item = {"file_name": str(video), "label": 1, "clip": clip, "clips": 3}
        sample = mapper(item)
        assert frame_indices(sample.pop("inputs")) == frames
        assert sample == {
            "labels": 1,
            "unreadable": None,
            **{k: item[k] for k in sample.keys() & item},
        }
        assert (sample["clip"], sample["clips"]) == (clip, 3)
    single = mapper({"file_name": str(video), "label": 1})
    assert frame_indices(single["inputs"]) == expected[1] and (single["clip"], single["clips"]) == (
        0,
        1,
    )


def test_a_folder_of_frames_has_the_rate_of_its_item(folder):
    mapper = make_mapper(False)
    known = {"file_name": str(folder), "label": 0, "clip": 0, "clips": 2}
    assert frame_indices(mapper(known)["inputs"]) == [0, 2, 4, 7]
    assert frame_indices(mapper({**known, "fps": 60.0})["inputs"]) == [0, 5, 10, 15]


def test_a_clip_longer_than_its_video_repeats_the_last_frame(video):
    sample = make_mapper(False, DenseSampling(4, 20))({"file_name": str(video), "label": 0})
    assert frame_indices(sample["inputs"]) == [0, 26, 39, 39]


def test_the_same_seed_makes_the_same_sample(video):
    mapper = make_mapper(transform=clip_train_transform((4, 32, 32)))
    item = {"file_name": str(video), "label": 0}
    made = []
    for copy in (mapper, pickle.loads(pickle.dumps(mapper)), mapper):
        seeded(5)
        made.append(copy(item)["inputs"])
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])
    assert not torch.equal(mapper(item)["inputs"], made[0])


# ------------------------------------------------------------------------------------------- size


class AsTensor:
    """A transform that changes nothing, of frames of a shorter side."""

    short_side = 96

    def __call__(self, frames):
        return as_tensor(frames)


@pytest.mark.parametrize("is_train", [True, False])
def test_frames_are_resized_on_decoding_only_if_configured(video, folder, is_train):
    """Without the key, pixels are those of PyAV's conversion."""
    with av.open(str(video)) as container:
        pixels = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    for path in (video, folder):
        made = {}
        for options in ({}, {"resize_on_decoding": False}, {"resize_on_decoding": True}):
            seeded(1)
            mapper = make_mapper(is_train, transform=AsTensor(), **options)
            made[str(options)] = mapper({"file_name": str(path), "label": 0})["inputs"]
        stored, same, resized = made.values()
        assert torch.equal(stored, same) and stored.shape == (3, 4, 48, 64)
        if path == video:
            assert torch.equal(stored, as_tensor(pixels[frame_indices(stored)]))
        assert resized.shape == (3, 4, 96, 128)
        assert frame_indices(resized) == frame_indices(stored)


def test_transforms_know_the_released_size_of_decoded_frames():
    for side, expected in ((224, 256), (312, 356), (352, 402), (64, 73)):
        assert clip_train_transform((4, side, side)).short_side == expected
    jitter = clip_train_transform((4, 224, 224), crop="short_side_jitter", short_side=(300, 400))
    assert jitter.short_side == 300
    assert clip_test_transform((4, 224, 224), short_side=240).short_side == 240


def test_what_cannot_be_resized(tmp_path):
    with pytest.raises(UserError, match="short_side, .* function lacks: .*on_decoding=false"):
        make_mapper(resize_on_decoding=True)
    with pytest.raises(UserError, match="resize_on_decoding=256 of ClipMapper must be one of"):
        make_mapper(transform=AsTensor(), resize_on_decoding=256)
    narrow = np.zeros((4, 2, 300, 3), np.uint8)
    item = {"file_name": str(write_video(tmp_path / "a.mkv", narrow, codec="ffv1")), "label": 0}
    sample = make_mapper(False, transform=AsTensor(), resize_on_decoding=True)(item)
    assert "2 x 300 (H x W) cannot be resized" in sample["unreadable"]


# --------------------------------------------------------------------------------------- repetition


@pytest.fixture
def opened(monkeypatch):
    paths, real = [], module.open_video
    monkeypatch.setattr(
        module, "open_video", lambda path, **rest: paths.append(path) or real(path, **rest)
    )
    return paths


def test_repeated_samples_are_decoded_once_and_augmented_differently(video, opened):
    item = {"file_name": str(video), "label": 2}
    samples = make_mapper().repeated(item, 3)
    assert opened == [str(video)]
    assert [sample["labels"] for sample in samples] == [2, 2, 2]
    assert (
        len({tuple(frame_indices(sample["inputs"])) for sample in samples}) == 1
    )  # the same frames
    augmented = make_mapper(transform=clip_train_transform((4, 32, 32))).repeated(item, 3)
    assert len({sample["inputs"].sum().item() for sample in augmented}) == 3
    assert make_mapper().repeated({"file_name": "no.mp4", "label": 0}, 3) is None


# --------------------------------------------------------------------------------------- bad videos


def _web_page(path):
    path.write_bytes(b"<html>not found</html>")


def _empty(path):
    path.write_bytes(b"")


def _cut(path):
    cut_short(write_video(path, numbered_frames(20)))


BAD = {
    "missing": (lambda path: None, "does not exist"),
    "empty": (_empty, "empty"),
    "web page": (_web_page, ""),
    "sound only": (write_audio, "audio"),
    "no frames": (write_without_frames, "no "),
    "cut short": (_cut, ""),
    "empty folder": (lambda path: path.mkdir(), "no pictures"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_video(tmp_path, caplog, video, fault):
    write, reason = BAD[fault]
    path = tmp_path / "bad.mp4"
    write(path)
    item = {"file_name": str(path), "label": 1}
    mapper = make_mapper()
    assert mapper(item) is None and mapper(item) is None and mapper.repeated(item, 2) is None
    messages = [r.getMessage() for r in caplog.records if r.name == "mvit_det.data.bad_samples"]
    assert len(messages) == 1  # once per file
    assert messages[0].startswith(f"Video {path} is skipped: ") and reason in messages[0]
    assert len(messages[0]) > len(f"Video {path} is skipped: ") + 5  # with a reason

    tester = make_mapper(False, transform=clip_test_transform((4, 24, 24), crops=3))
    tested = tester({**item, "clip": 1, "clips": 2})
    assert reason in tested["unreadable"] and tested["unreadable"]
    assert (tested["labels"], tested["clip"], tested["clips"]) == (1, 1, 2)
    good = tester({"file_name": str(video), "label": 0, "clip": 0, "clips": 2})
    assert tested["inputs"].shape == good["inputs"].shape and not tested["inputs"].any()
    assert tested.keys() == good.keys()
    assert "is left out of the accuracy" in caplog.text


def test_too_many_bad_videos(tmp_path, video):
    good = {"file_name": str(video), "label": 0}
    missing = [{"file_name": str(tmp_path / f"{i}.mp4"), "label": 0} for i in range(3)]
    mapper = make_mapper(max_bad_share=0.5, min_seen=3)
    assert mapper(good) is not None and mapper(missing[0]) is None
    with pytest.raises(UserError, match=r"^2 of the 3 videos .*=0.5 .*0.mp4: .*the data set"):
        mapper(missing[1])
    tester = make_mapper(False, max_bad_share=0.0, min_seen=1)
    assert all(tester(item)["unreadable"] for item in missing)  # an evaluation continues


def test_an_error_of_the_transform_is_not_a_bad_video(video):
    with pytest.raises(
        RuntimeError, match="Video .*x.mp4 reads well, but its transform failed: Zero"
    ):
        make_mapper(transform=lambda frames: 1 / 0)({"file_name": str(video), "label": 0})


class Wrong:
    """A sampling that fails, or chooses frames that do not exist."""

    def __init__(self, chosen=None):
        self.chosen = chosen

    def train(self, times):
        return np.array(self.chosen) if self.chosen is not None else 1 // 0

    def test(self, times, clip, clips):
        raise UserError("clips=7 is wrong.")


def test_an_error_of_the_sampling_is_not_a_bad_video(video):
    item = {"file_name": str(video), "label": 0}
    with pytest.raises(RuntimeError, match="x.mp4 reads well, but choosing among its 40 .*ZeroDiv"):
        make_mapper(sampling=Wrong())(item)
    for chosen in ([0, 40], [-1, 3], []):
        with pytest.raises(RuntimeError, match="has 40 frames, but Wrong chose"):
            make_mapper(sampling=Wrong(chosen))(item)
    with pytest.raises(UserError, match="clips=7 is wrong"):
        make_mapper(False, sampling=Wrong())(item)
