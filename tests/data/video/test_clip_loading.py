"""Batches of clips: workers, interruptions, repeats and Mixup."""

import pytest
from test_loader import assert_same, first
from video_files import numbered_frames, write_video

from mvit_det.data import (
    ClipMapper,
    Mixup,
    StackSamples,
    build_train_loader,
    clip_train_transform,
)
from mvit_det.data.video.sampling import DenseSampling


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    items = []
    for label in range(3):
        path = write_video(folder / f"{label}.mp4", numbered_frames(24, first=30 * label))
        items.append({"file_name": str(path), "label": label})
    return items + [{"file_name": str(folder / "missing.mp4"), "label": 0}]


def build_clips(items, total_batch_size=2, **options):
    transform = clip_train_transform((4, 32, 32))
    mapper = ClipMapper(
        True, sampling=DenseSampling(4, 2), transform=transform, max_bad_share=0.5, min_seen=1000
    )
    options.setdefault("collate", Mixup(3))
    return build_train_loader(
        items, mapper=mapper, total_batch_size=total_batch_size, seed=3, **options
    )


@pytest.mark.parametrize("repeats", [1, 2])
def test_clips_do_not_depend_on_workers_or_interruptions(videos, repeats):
    whole = first(build_clips(videos, repeats=repeats), 5)
    assert whole[0]["inputs"].shape == (2 * repeats, 3, 4, 32, 32)
    names = [name for batch in whole for name in batch["file_name"]]
    assert len(set(names)) == 3 and not any("missing" in name for name in names)
    assert names[::repeats] == names[repeats - 1 :: repeats]  # next to each other
    loader = build_clips(videos, repeats=repeats, num_workers=repeats)
    stream = iter(loader)
    batches = [next(stream), next(stream)]
    resumed = build_clips(videos, repeats=repeats)
    resumed.load_state_dict(loader.state_dict())
    batches += [next(stream) for _ in range(3)]
    stream.close()
    assert_same(batches, whole)
    assert_same(first(resumed, 3), whole[2:])


@pytest.mark.parametrize("total_batch_size", [2, 3])
def test_repeated_clips_differ_and_are_mixed_with_other_videos(videos, total_batch_size):
    options = dict(repeats=2, total_batch_size=total_batch_size)
    plain = first(build_clips(videos[:3], collate=StackSamples(), **options), 1)[0]
    count = 2 * total_batch_size
    assert len({clip.sum().item() for clip in plain["inputs"]}) == count
    names = plain["file_name"]
    assert names[::2] == names[1::2] and len(set(names)) == total_batch_size
    mixed = first(build_clips(videos[:3], collate=Mixup(3, label_smoothing=0), **options), 1)[0]
    for place, label in enumerate(plain["labels"].tolist()):
        partner = plain["labels"][count - 1 - place].item()
        assert set(mixed["labels"][place].nonzero().flatten().tolist()) == {label, partner}
        # the middle video of three is mixed with its repeat
        assert (label == partner) == (total_batch_size == 3 and place in (2, 3))
