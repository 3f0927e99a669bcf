"""Stacking, mixup and CutMix, compared with their formulas on small batches."""

import numpy as np
import pytest
import torch

from mvit_det.data import Mixup, StackSamples

SIDE = (12, 20)


def samples(count: int, classes: int = 5) -> list[dict]:
    """Make images of constant value i with the labels i mod classes."""
    return [
        {"inputs": torch.full((3, *SIDE), float(i)), "labels": i % classes, "file_name": f"{i}"}
        for i in range(count)
    ]


def mixed(count: int, seed: int, **options) -> dict:
    np.random.seed(seed)
    return Mixup(5, **options)(samples(count))


def soft(labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, 5) * (1 - smoothing) + smoothing / 5


def test_tensors_and_integers_are_stacked_and_all_else_listed():
    batch = StackSamples()([dict(s, unreadable=None) for s in samples(3)])
    assert batch["inputs"].shape == (3, 3, *SIDE) and batch["inputs"][2, 0, 0, 0] == 2
    assert batch["labels"].dtype == torch.int64 and batch["labels"].tolist() == [0, 1, 2]
    assert batch["file_name"] == ["0", "1", "2"] and batch["unreadable"] == [None] * 3


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("seed", range(4))
def test_mixup_follows_its_formula(count, seed):
    batch = mixed(count, seed, cutmix_alpha=0)
    np.random.seed(seed)
    np.random.rand()  # whether to mix
    ratio = np.random.beta(0.8, 0.8)
    index = torch.arange(count)
    partner = index.flip(0)
    expected = (ratio * index + (1 - ratio) * partner)[:, None, None, None]
    torch.testing.assert_close(batch["inputs"], expected.float().expand(-1, 3, *SIDE))
    labels = ratio * soft(index % 5, 0.1) + (1 - ratio) * soft(partner % 5, 0.1)
    torch.testing.assert_close(batch["labels"], labels.float())
    assert batch["file_name"] == [str(i) for i in range(count)]


@pytest.mark.parametrize("count", [2, 5, 8])
@pytest.mark.parametrize("seed", range(6))
def test_cutmix_is_one_box_whose_area_sets_the_labels(count, seed):
    batch = mixed(count, seed, mixup_alpha=0, label_smoothing=0)
    index = torch.arange(count)
    partner = index.flip(0)
    unchanged = batch["inputs"] == index[:, None, None, None]
    assert ((batch["inputs"] == partner[:, None, None, None]) | unchanged).all()
    inside = ~unchanged[0, 0]  # the first image is never mixed with itself
    rows, columns = inside.any(1), inside.any(0)
    assert torch.equal(inside, rows[:, None] & columns[None])  # a box
    assert all(torch.equal(~unchanged[i, c], inside) for i in (0, count - 1) for c in range(3))
    share = inside.float().mean()
    labels = (1 - share) * soft(index % 5, 0) + share * soft(partner % 5, 0)
    torch.testing.assert_close(batch["labels"], labels)


def test_half_of_the_batches_use_cutmix():
    cut = 0
    for seed in range(400):
        values = mixed(2, seed)["inputs"][0].unique()
        cut += len(values) > 1 or values.item() in (0.0, 1.0)  # a box may be empty or the image
    assert 160 < cut < 240


def test_a_probability_of_zero_mixes_no_batch():
    batch = mixed(6, 1, prob=0.0)
    assert torch.equal(batch["inputs"][:, 0, 0, 0], torch.arange(6.0))
    torch.testing.assert_close(batch["labels"], soft(torch.arange(6) % 5, 0.1).float())


def test_labels_without_mixing():
    plain = Mixup(5, mixup_alpha=0, cutmix_alpha=0, label_smoothing=0)(samples(3))
    assert plain["labels"].dtype == torch.int64 and plain["labels"].tolist() == [0, 1, 2]
    smoothed = Mixup(5, mixup_alpha=0, cutmix_alpha=0, label_smoothing=0.2)(samples(3))["labels"]
    assert smoothed[1].tolist() == pytest.approx([0.04, 0.84, 0.04, 0.04, 0.04])


FRAMES = 4


def clips(count: int, classes: int = 5) -> list[dict]:
    """Make clips of which frame t of clip i has the value i + t / 10."""
    frames = torch.arange(FRAMES)[None, :, None, None] / 10
    return [
        {"inputs": (i + frames).repeat(3, 1, *SIDE), "labels": i % classes, "clip": i, "clips": 9}
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 5, 6])
@pytest.mark.parametrize("options", [dict(cutmix_alpha=0), dict(mixup_alpha=0), {}])
def test_all_frames_of_a_clip_are_mixed_like_images(count, options):
    """Each frame equals an image mixed with the same random numbers, hence the same box."""
    for seed in range(4):
        np.random.seed(seed)
        batch = Mixup(5, **options)(clips(count))
        assert batch["inputs"].shape == (count, 3, FRAMES, *SIDE)
        for frame in range(FRAMES):
            np.random.seed(seed)
            alone = Mixup(5, **options)(
                [dict(clip, inputs=clip["inputs"][:, frame]) for clip in clips(count)]
            )
            torch.testing.assert_close(batch["inputs"][:, :, frame], alone["inputs"])
            assert torch.equal(batch["labels"], alone["labels"])
