"""The clips that videos are tested by."""

import pytest
import torch
from detectron2.data import build_detection_test_loader
from video_files import numbered_frames, write_video

from mvit_det.data import ClipMapper, StackSamples, clip_test_transform, video_views
from mvit_det.data.video.sampling import DenseSampling
from mvit_det.errors import UserError

ITEMS = [{"file_name": f"{name}.mp4", "label": label} for label, name in enumerate("abc")]


def test_the_clips_of_a_video_stand_side_by_side():
    views = video_views(ITEMS, clips=4)
    assert len(views) == 12
    for index in range(12):
        expected = {**ITEMS[index // 4], "clip": index % 4, "clips": 4}
        assert views[index] == expected and views[index - 12] == expected
    assert "clip" not in ITEMS[0]
    assert [item["clip"] for item in views] == [0, 1, 2, 3] * 3  # it ends
    assert video_views(ITEMS, clips=1)[2] == {**ITEMS[2], "clip": 0, "clips": 1}


def test_other_keys_stay():
    assert video_views([{"file_name": "f", "label": 1, "fps": 12.0}], clips=2)[1]["fps"] == 12.0


@pytest.mark.parametrize("clips", [0, -1, 2.5, "5"])
def test_numbers_of_clips_that_are_refused(clips):
    with pytest.raises(
        UserError, match="clips=.* of video_views must be a whole number of at least"
    ):
        video_views(ITEMS, clips=clips)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_clip_is_tested_once_in_order(tmp_path, workers):
    items = []
    for label in range(3):
        path = write_video(tmp_path / f"{label}.mp4", numbered_frames(16, first=20 * label))
        items.append({"file_name": str(path), "label": label})
    items.append({"file_name": str(tmp_path / "no.mp4"), "label": 1})
    loader = build_detection_test_loader(
        dataset=video_views(items, clips=2),
        mapper=ClipMapper(
            False, sampling=DenseSampling(4, 2), transform=clip_test_transform((4, 16, 16), crops=3)
        ),
        batch_size=3,
        num_workers=workers,
        collate_fn=StackSamples(),
    )
    batches = list(loader)
    assert [batch["inputs"].shape for batch in batches[:2]] == [(3, 3, 3, 4, 16, 16)] * 2
    joined = {
        key: torch.cat([b[key] for b in batches]).tolist() for key in ("labels", "clip", "clips")
    }
    assert joined == {"labels": [0, 0, 1, 1, 2, 2, 1, 1], "clip": [0, 1] * 4, "clips": [2] * 8}
    names = [name for batch in batches for name in batch["file_name"]]
    assert names == [item["file_name"] for item in items for _ in range(2)]
    reasons = [reason for batch in batches for reason in batch["unreadable"]]
    assert reasons[:6] == [None] * 6 and reasons[6:] == ["the file does not exist"] * 2
    whole = torch.cat([batch["inputs"] for batch in batches])
    assert not whole[6:].any() and not torch.equal(whole[0], whole[1])
