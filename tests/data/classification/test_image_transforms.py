"""Augmentation and test transforms, compared with the released code and on simple pictures."""

import pickle

import numpy as np
import pytest
import torch
from golden.make_image_transforms import (
    GOLDEN,
    SEEDS,
    SHAPES,
    TEST_SIZES,
    TRAIN_SIZES,
    cells,
    picture,
    seeded,
)
from PIL import Image

from mvit_det.data import test_transform as make_test_transform
from mvit_det.data import train_transform
from mvit_det.errors import UserError

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("size", TRAIN_SIZES)
def test_augmentation_equals_that_of_the_released_code(golden, size):
    transform = train_transform(size)
    for seed in range(SEEDS):
        seeded(seed)
        image = transform(picture(150, 100))
        assert image.shape == (3, *size) and image.dtype == torch.float32
        expected = golden[f"train_{size[0]}x{size[1]}"][seed]
        np.testing.assert_allclose(cells(image), expected, atol=1e-5, err_msg=f"seed {seed}")


@pytest.mark.parametrize("protocol", ["center", "resize"])
@pytest.mark.parametrize("size", TEST_SIZES)
def test_test_protocols_equal_those_of_the_released_code(golden, size, protocol):
    transform = make_test_transform((size, size), protocol=protocol)
    for width, height in SHAPES:
        expected = golden[f"test_{size}_{protocol}_{width}x{height}"]
        np.testing.assert_allclose(cells(transform(picture(width, height))), expected, atol=1e-5)


def test_a_picture_of_one_colour_is_only_normalised():
    grey = Image.new("RGB", (90, 70), (200, 100, 50))
    expected = ((torch.tensor([200.0, 100.0, 50.0]) / 255 - MEAN) / STD)[:, None, None]
    for protocol in ("center", "resize"):
        image = make_test_transform((32, 64), protocol=protocol)(grey)
        assert image.shape == (3, 32, 64)
        torch.testing.assert_close(image, expected.expand(3, 32, 64))
    plain = train_transform((32, 64), auto_augment=None, color_jitter=0.0, erase_prob=0.0)(grey)
    torch.testing.assert_close(plain, expected.expand(3, 32, 64))


def test_center_crops_the_middle_and_resize_takes_all():
    """The picture is four times as wide as high."""
    pixels = np.zeros((64, 256, 3), np.uint8)
    pixels[:, 96:160] = 255
    image = Image.fromarray(pixels)
    centre = make_test_transform((56, 56))(image)
    assert (centre > 0).all()
    whole = make_test_transform((56, 56), protocol="resize")(image)
    assert (whole > 0).float().mean() == pytest.approx(0.25, abs=0.03)


def test_erased_pixels_are_noise():
    grey = Image.new("RGB", (64, 64), (124, 116, 104))  # the mean: zeros after normalisation
    transform = train_transform((64, 64), auto_augment=None, color_jitter=0.0, erase_prob=1.0)
    seeded(3)
    image = transform(grey)
    erased = image[0].abs() > 0.02
    share = erased.float().mean().item()
    assert 0.015 < share < 0.34  # 2 % to a third of the area
    rows, columns = np.where(erased)
    box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert erased.sum() / box > 0.9  # one box
    noise = image[:, erased]
    assert noise.mean().abs() < 0.2 and 0.85 < noise.std() < 1.15


def test_highest_magnitude_of_rand_augment():
    """It posterises to 0 bits, which Pillow refuses."""
    transform = train_transform((16, 16), auto_augment="rand-m10-n15-inc1", erase_prob=0.0)
    for seed in range(40):
        seeded(seed)
        assert transform(picture(40, 40)).isfinite().all()


def test_no_colour_jitter_together_with_rand_augment():
    assert "ColorJitter" not in str(train_transform((32, 32)))
    assert "ColorJitter" in str(train_transform((32, 32), auto_augment=None))


def test_transforms_can_be_pickled():
    for transform in (train_transform([32, 48]), make_test_transform([32, 48])):
        copy = pickle.loads(pickle.dumps(transform))
        seeded(1)
        expected = transform(picture(50, 60))
        seeded(1)
        assert torch.equal(copy(picture(50, 60)), expected)


def test_protocols_and_sizes_out_of_range():
    with pytest.raises(UserError, match=r"protocol='centre' .* one of center, resize"):
        make_test_transform((32, 32), protocol="centre")
    for size in ((32,), (8, 32, 32), (0, 4)):
        with pytest.raises(UserError, match="must be .height,width., each at least 1"):
            train_transform(size)
    with pytest.raises(UserError, match="must be .height,width."):
        train_transform(32)


@pytest.mark.parametrize(
    "options, sentence",
    [
        (dict(auto_augment="foo"), "auto_augment='foo'"),
        (dict(interpolation="cubic"), "interpolation='cubic'"),
        (dict(scale=(2, 3)), "scale="),
        (dict(erase_prob=5), "erase_prob=5"),
    ],
)
def test_values_that_timm_does_not_accept(options, sentence):
    with pytest.raises(UserError, match=sentence):
        train_transform((32, 32), **options)


def test_crop_ratio_of_zero():
    with pytest.raises(UserError, match="crop_ratio=0"):
        make_test_transform((32, 32), crop_ratio=0)
