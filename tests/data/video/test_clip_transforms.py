"""Clip transforms compared with the released code, and on clips made by hand."""

import numpy as np
import pytest
import torch
from golden.make_clip_transforms import (
    FRAMES,
    GOLDEN,
    JITTER,
    MEAN,
    PROTOCOLS,
    RAND_AUGMENT,
    SEEDS,
    SHAPES,
    SIZE,
    STD,
    TRAIN_SHAPE,
    cells,
    clip,
    seeded,
)

from mvit_det.data import clip_test_transform, clip_train_transform
from mvit_det.errors import UserError

INPUT = (FRAMES, SIZE, SIZE)
PLAIN = dict(auto_augment=None, erase_prob=0.0, hflip=0.0)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def grey(count=4, height=40, width=60) -> np.ndarray:
    """Zeros after normalisation by mean 1 / 255."""
    return np.ones((count, height, width, 3), np.uint8)


ZERO_MEAN = dict(mean=(1 / 255,) * 3, std=(1.0,) * 3)


# ----------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("crop", ["inception", "short_side_jitter"])
def test_augmentation_equals_the_released_code_for_each_seed(golden, crop):
    transform = clip_train_transform(
        INPUT,
        crop=crop,
        short_side=JITTER,
        hflip=0.0,
        auto_augment=RAND_AUGMENT,
        erase_prob=0.5,
        erase_mode="const",
        mean=MEAN,
        std=STD,
    )
    frames = clip(*TRAIN_SHAPE)
    for seed in range(SEEDS):
        seeded(seed)
        made = transform(frames)
        assert made.shape == (3, *INPUT) and made.dtype == torch.float32 and made.is_contiguous()
        expected = golden[f"train_{crop}"][seed]
        np.testing.assert_allclose(cells(made), expected, atol=2e-6, err_msg=f"seed {seed}")


@pytest.mark.parametrize("crop", ["inception", "short_side_jitter"])
@pytest.mark.parametrize("shape", [(9, 1), (1, 9), (2, 2), (300, 20), (31, 47), (320, 180)])
def test_clips_of_any_shape(crop, shape):
    size = (2, 24, 32)
    transform = clip_train_transform(size, crop=crop, short_side=(32, 40))
    frames = clip(*shape)
    for seed in range(3):
        seeded(seed)
        made = transform(frames)
        assert made.shape == (3, FRAMES, 24, 32) and made.isfinite().all()


def test_normalisation_by_hand():
    """Resizing and cropping keep frames of one colour, so that only normalisation changes them."""
    colours = np.array([[200, 100, 50], [10, 20, 30]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (2, 50, 70, 3))
    expected = (torch.from_numpy(colours) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    expected = expected.T[..., None, None].expand(3, 2, 32, 24)
    for crop in ("inception", "short_side_jitter"):
        transform = clip_train_transform(
            (2, 32, 24), crop=crop, short_side=(40, 60), mean=MEAN, std=STD, **PLAIN
        )
        torch.testing.assert_close(transform(frames), expected)
    for crops in (1, 3):
        views = clip_test_transform((2, 32, 24), crops=crops, mean=MEAN, std=STD)(frames)
        torch.testing.assert_close(views, expected.expand(crops, -1, -1, -1, -1))


def test_frames_of_a_still_clip_stay_equal_except_for_noise():
    frames = np.repeat(clip(90, 70)[:1], 5, axis=0)
    transform = clip_train_transform((5, 32, 32), erase_mode="const", erase_prob=0.5)
    different = set()
    for seed in range(30):
        seeded(seed)
        made = transform(frames)
        assert torch.equal(made, made[:, :1].expand_as(made))
        different.add(made.sum().item())
    assert len(different) == 30


def test_half_of_the_clips_are_flipped_as_a_whole():
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, None, :, None], (3, 32, 32, 3))
    options = {**PLAIN, "scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    flipped = 0
    transform = clip_train_transform((3, 32, 32), **{**options, "hflip": 0.5})
    for seed in range(60):
        seeded(seed)
        made = transform(ramp)
        falls = (made.diff(dim=-1) < 0).float().mean().item()
        assert falls in (0.0, 1.0)
        flipped += falls
    assert 18 < flipped < 42
    never = clip_train_transform((3, 32, 32), **options)
    assert all((never(ramp).diff(dim=-1) > 0).all() for _ in range(20))


def test_erased_pixels_are_one_rectangle_of_new_noise_in_each_frame():
    transform = clip_train_transform(
        (4, 64, 64), **{**PLAIN, "erase_prob": 1.0}, **ZERO_MEAN, scale=(0.5, 1.0)
    )
    shares = []
    for seed in range(40):
        seeded(seed)
        made = transform(grey())
        erased = made.abs() > 1e-5
        inside = erased.any(0).any(0)
        rows, columns = inside.any(1), inside.any(0)
        assert torch.equal(inside, rows[:, None] & columns)
        assert all(erased[c, t][inside].float().mean() > 0.98 for c in range(3) for t in range(4))
        noise = made[:, :, inside].flatten(0, 1)
        assert (noise[0] - noise[1]).abs().mean() > 0.5
        if noise.numel() > 3000:
            assert noise.mean().abs() < 0.1 and 0.9 < noise.std() < 1.1
        shares.append(inside.float().mean().item())
    assert 0.01 < min(shares) < 0.06 and 0.25 < max(shares) < 0.35  # 2 % to a third of the area
    seeded(0)
    often = clip_train_transform((4, 16, 16), **{**PLAIN, "erase_prob": 0.25}, **ZERO_MEAN)
    assert 25 < sum(bool((often(grey()).abs() > 1e-5).any()) for _ in range(200)) < 75


def test_the_short_side_is_drawn_uniformly_in_its_inverse(monkeypatch):
    drawn = []
    real = np.random.uniform

    def uniform(low, high):
        value = real(low, high)
        drawn.append((round(1 / high), round(1 / low), 1 / value))
        return value

    monkeypatch.setattr(np.random, "uniform", uniform)
    jitter = clip_train_transform((3, 32, 32), crop="short_side_jitter", **PLAIN).crop
    seeded(0)
    sizes = [jitter.draw(240, 320).resized for _ in range(400)]
    assert {entry[:2] for entry in drawn} == {(256, 320)}
    assert [short for short, _ in sizes] == [round(entry[2]) for entry in drawn]
    assert all(long == short * 320 // 240 for short, long in sizes)
    assert np.mean([short for short, _ in sizes]) == pytest.approx(
        285.6, abs=4
    )  # log mean; not 288


def test_input_frames_are_not_changed():
    frames = clip(60, 50)
    before = frames.copy()
    for transform in (clip_train_transform(INPUT, **PLAIN), clip_train_transform(INPUT)):
        for seed in range(5):
            seeded(seed)
            transform(frames)
    clip_test_transform((FRAMES, 50, 50), short_side=50)(frames)
    assert np.array_equal(frames, before)


# ------------------------------------------------------------------------------------------ testing


@pytest.mark.parametrize("crops, short_side", PROTOCOLS)
def test_test_crops_equal_the_released_code(golden, crops, short_side):
    transform = clip_test_transform(INPUT, crops=crops, short_side=short_side, mean=MEAN, std=STD)
    for width, height in SHAPES:
        views = transform(clip(width, height))
        assert views.shape == (crops, 3, *INPUT) and views.is_contiguous()
        expected = golden[f"test_{crops}_{short_side}_{width}x{height}"]
        np.testing.assert_allclose(cells(views), expected, atol=2e-6)


def test_positions_of_the_test_crops():
    """Columns and rows are numbered by red and green, and nothing is resized."""
    y, x = np.mgrid[:50, :81]
    landscape = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)[None].repeat(2, axis=0)

    def corners(frames, crops, short_side):
        made = clip_test_transform((2, 40, 40), crops=crops, short_side=short_side)(frames)
        numbers = (made * 0.225 + 0.45) * 255
        return [(round(v[0, 0, 0, 0].item()), round(v[1, 0, 0, 0].item())) for v in numbers]

    assert corners(landscape, 1, 50) == [(21, 5)]  # 20.5 is rounded up
    assert corners(landscape, 3, 50) == [(0, 5), (21, 5), (41, 5)]
    portrait = landscape.transpose(0, 2, 1, 3)[..., [1, 0, 2]]
    assert corners(portrait, 3, 50) == [(5, 0), (5, 21), (5, 41)]
    assert corners(landscape[:, :, :50], 3, 50) == [(0, 5), (5, 5), (10, 5)]


def test_the_default_short_side_is_the_released_one():
    # 256 for one crop of 224, 356 for 312; the crop's side for three crops.
    for side, crops, expected in ((224, 1, 256), (312, 1, 356), (224, 3, 224), (312, 3, 312)):
        assert clip_test_transform((4, side, side), crops=crops).short_side == expected
    assert clip_test_transform((4, 64, 96)).short_side == 73


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (3, 7), (101, 20), (20, 101), (1280, 721)])
@pytest.mark.parametrize("size", [(2, 32, 32), (2, 24, 48), (2, 48, 24)])
def test_every_shape_is_covered(shape, size):
    frames = np.full((2, shape[1], shape[0], 3), 200, np.uint8)
    for crops in (1, 3):
        views = clip_test_transform(size, crops=crops)(frames)
        assert views.shape == (crops, 3, *size)
        torch.testing.assert_close(views, torch.full_like(views, (200 / 255 - 0.45) / 0.225))


# ---------------------------------------------------------------------------------------- arguments


TRAIN_FAULTS = {
    "crop='centre' .* one of inception, short_side_jitter": dict(crop="centre"),
    r"scale=\(0.5, 1.2\) .* a smallest .* from above 0 to 1": dict(scale=(0.5, 1.2)),
    r"scale=\(0, 1\) .* a smallest .* from above 0 to 1": dict(scale=(0, 1)),
    r"scale=\(0.9, 0.5\) .* a smallest and a largest": dict(scale=(0.9, 0.5)),
    r"scale=\[0.5\] .* two numbers": dict(scale=[0.5]),
    "scale=0.5 .* two numbers": dict(scale=0.5),
    "ratio=ab .* two numbers": dict(ratio="ab"),
    "short_side=40 .* two numbers": dict(short_side=40),
    r"ratio=\(0, 1\) must be above 0": dict(ratio=(0, 1)),
    r"short_side=30 .* not below .* 48": dict(crop="short_side_jitter", short_side=(30, 60)),
    r"short_side=\(90, 60\) .* a smallest and a largest": dict(
        crop="short_side_jitter", short_side=(90, 60)
    ),
    "hflip=1.5 .* from 0 to 1": dict(hflip=1.5),
    "erase_prob=-1 .* from 0 to 1": dict(erase_prob=-1),
    "erase_mode='noise' .* one of pixel, rand, const": dict(erase_mode="noise"),
    "erase_count=0 .* at least 1": dict(erase_count=0),
    "auto_augment='random' .* RandAugment of timm, such as": dict(auto_augment="random"),
    "auto_augment='rand-m7-x4' ": dict(auto_augment="rand-m7-x4"),
    r"mean=\[0.45\] .* three numbers": dict(mean=[0.45]),
    r"std=\[1, 1, 0\] .* above 0": dict(std=[1, 1, 0]),
}


@pytest.mark.parametrize("message", TRAIN_FAULTS)
def test_invalid_arguments_of_training(message):
    with pytest.raises(UserError, match=message):
        clip_train_transform(INPUT, **TRAIN_FAULTS[message])


@pytest.mark.parametrize("make", [clip_train_transform, clip_test_transform])
@pytest.mark.parametrize("size", [(32, 32), (0, 4, 4), 32, (4, 8, 8, 8)])
def test_invalid_sizes(make, size):
    with pytest.raises(
        UserError,
        match="must be .frames,height,width., each at least 1",
    ):
        make(size)


def test_invalid_arguments_of_testing():
    with pytest.raises(UserError, match="crops=2 of clip_test_transform must be one of 1, 3"):
        clip_test_transform(INPUT, crops=2)
    with pytest.raises(UserError, match="short_side=47 .* not below .* the crop, 48"):
        clip_test_transform(INPUT, short_side=47)
    with pytest.raises(UserError, match="short_side='wide' .* a whole number"):
        clip_test_transform(INPUT, short_side="wide")
