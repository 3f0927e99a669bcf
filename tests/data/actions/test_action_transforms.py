"""Clips and boxes of action detection compared with the released code, and by hand."""

import pickle

import numpy as np
import pytest
import torch
from golden.make_action_clips import GOLDEN, JITTER, SEEDS, SHAPES, SIZE, boxes
from golden.make_clip_transforms import clip, seeded

from mvit_det.data import action_test_transform, action_train_transform
from mvit_det.errors import UserError

INPUT = (3, SIZE, SIZE)
RAW = dict(mean=(0.0,) * 3, std=(1 / 255,) * 3)  # pixel values stay what they are
NONE = np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def same(made, pixels, placed):
    """Within one level: the released code rounds resized pixels to whole numbers."""
    inputs, found = made
    assert inputs.dtype == found.dtype == torch.float32 and inputs.is_contiguous()
    assert inputs.shape == (3, 3, *pixels.shape[1:])
    assert np.abs(inputs[:, -1].numpy() - pixels.astype(np.float32)).max() < 1
    np.testing.assert_allclose(found.numpy(), placed, rtol=0, atol=1e-4)


# ------------------------------------------------------------------------------- the released code


@pytest.mark.parametrize("shape", SHAPES)
def test_augmentation_equals_the_released_code_for_each_seed(golden, shape):
    transform = action_train_transform(INPUT, short_side=JITTER, **RAW)
    name = "train_{}x{}".format(*shape)
    for seed in range(SEEDS):
        seeded(seed)
        made = transform(clip(*shape), boxes().astype(np.float32))
        same(made, golden[name][seed], golden[f"{name}_boxes"][seed])
    assert len(made[1]) == len(boxes())  # all are kept


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("crop, split", [("center", "val"), ("full", "test")])
def test_test_clips_equal_the_released_code(golden, crop, split, shape):
    transform = action_test_transform(INPUT, crop=crop, **RAW)
    name = "{}_{}x{}".format(split, *shape)
    same(transform(clip(*shape), boxes()), golden[name], golden[f"{name}_boxes"])


# ----------------------------------------------------------------------------------------- by hand


def test_boxes_by_hand():
    frames = np.zeros((2, 480, 640, 3), np.uint8)
    given = np.array([[0.25, 0.5, 0.5, 1.0], [0, 0, 1, 1]], np.float32)
    # 640 -> 298 (298.67 rounded down): a factor of 0.465625; the crop begins at x = 37
    whole = action_test_transform((2, 224, 224), crop="full")(frames, given)
    assert whole[0].shape == (3, 2, 224, 298)
    torch.testing.assert_close(
        whole[1], torch.tensor([[74.5, 111.75, 149, 223], [0, 0, 297.0, 223]]), atol=0.05, rtol=0
    )
    centre = action_test_transform((2, 224, 224))(frames, given)
    assert centre[0].shape == (3, 2, 224, 224)
    torch.testing.assert_close(
        centre[1], torch.tensor([[37.5, 111.75, 112, 223], [0, 0, 223.0, 223]]), atol=0.05, rtol=0
    )


@pytest.mark.parametrize(
    "shape", [(480, 640), (640, 360), (300, 900), (224, 224), (312, 312), (9, 5)]
)
@pytest.mark.parametrize("side", [224, 312])
def test_whole_frames_of_any_shape(shape, side):
    frames = np.zeros((2, *shape, 3), np.uint8)
    inputs, placed = action_test_transform((2, side, side), crop="full")(frames, boxes())
    height, width = inputs.shape[2:]
    assert min(height, width) == side
    assert max(height, width) == int(max(shape) / min(shape) * side)
    assert (placed.amax(0) <= torch.tensor([width - 1, height - 1] * 2)).all()


@pytest.mark.parametrize("crop", ["train", "center", "full"])
@pytest.mark.parametrize("size", [(2, 48, 48), (2, 32, 64), (2, 64, 32)])
@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (70, 70), (20, 300)])
def test_a_box_stays_on_its_figure(crop, size, shape):
    """A white rectangle in black frames is inside its box, up to rounding."""
    height, width = shape
    figure = (int(0.3 * width), int(0.3 * height), int(0.7 * width), int(0.7 * height))
    frames = np.zeros((2, height, width, 3), np.uint8)
    frames[:, figure[1] : figure[3], figure[0] : figure[2]] = 255
    given = np.array([figure], np.float32) / (width, height, width, height)
    if crop == "train":
        transform = action_train_transform(size, short_side=(64, 80), **RAW)
    else:
        transform = action_test_transform(size, crop=crop, **RAW)
    places = set()
    for seed in range(6 if crop == "train" else 1):
        seeded(seed)
        inputs, placed = transform(frames, given)
        assert crop == "full" or inputs.shape[2:] == size[1:]
        white = inputs[0, 0] > 127
        rows, columns = white.any(1).nonzero()[:, 0], white.any(0).nonzero()[:, 0]
        if not len(rows):
            continue  # cut off
        corners = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert torch.tensor(corners) == pytest.approx(placed[0], abs=1.5)
        places.add(tuple(placed[0].tolist()))
    assert places


def test_visible_area():
    assert action_test_transform((1, 100, 100)).visible_area(100, 400) == (0.375, 0, 0.625, 1)
    assert action_test_transform((1, 50, 100)).visible_area(400, 100) == (0, 0.4375, 1, 0.5625)
    assert action_test_transform((1, 90, 90), crop="full").visible_area(100, 401) == (0, 0, 1, 1)


def test_a_person_outside_of_the_crop_keeps_a_box_without_area():
    frames = np.zeros((1, 100, 300, 3), np.uint8)
    given = np.array([[0, 0, 0.1, 1], [0.45, 0, 0.55, 1], [0.9, 0, 1, 1]], np.float32)
    placed = action_test_transform((1, 100, 100))(frames, given)[1]
    torch.testing.assert_close(
        placed,
        torch.tensor([[0, 0, 0, 99], [35, 0, 65, 99], [99, 0, 99, 99]]).float(),
        atol=1,
        rtol=0,
    )


@pytest.mark.parametrize(
    "transform",
    [
        action_train_transform((2, 32, 32)),
        action_test_transform((2, 32, 32)),
        action_test_transform((2, 32, 32), crop="full"),
    ],
)
def test_no_boxes_and_a_copy_in_a_worker(transform):
    frames = clip(90, 70)[:2]
    seeded(1)
    inputs, placed = transform(frames, NONE)
    assert placed.shape == (0, 4) and placed.dtype == torch.float32
    seeded(1)
    given = boxes()
    copied = pickle.loads(pickle.dumps(transform))(frames, given)
    assert torch.equal(copied[0], inputs)
    np.testing.assert_array_equal(given, boxes())  # the boxes of the data set are not changed


def test_pixels_are_normalised_by_colour_and_flips_can_be_off():
    frames = np.broadcast_to(np.array([200, 100, 50], np.uint8), (2, 40, 40, 3))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    expected = (torch.tensor([200, 100, 50]) / 255 - torch.tensor(mean)) / torch.tensor(std)
    made = action_train_transform((2, 32, 32), short_side=(32, 40), mean=mean, std=std)(
        frames, NONE
    )
    torch.testing.assert_close(made[0], expected[:, None, None, None].expand(3, 2, 32, 32))
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, None, :, None], (1, 64, 64, 3))
    turned = {}
    for hflip in (0.0, 0.5, 1.0):
        transform = action_train_transform((1, 64, 64), short_side=(64, 64), hflip=hflip, **RAW)
        runs = [transform(ramp, np.array([[0, 0, 0.25, 1]]))[1][0, 0] > 30 for _ in range(60)]
        turned[hflip] = sum(map(int, runs))
    assert turned[0.0] == 0 and 10 < turned[0.5] < 50 and turned[1.0] == 60


def test_short_side_of_testing():
    frames = np.zeros((1, 90, 120, 3), np.uint8)
    for crop, shape in (("center", (60, 60)), ("full", (75, 100))):
        made = action_test_transform((1, 60, 60), crop=crop, short_side=75)(frames, NONE)
        assert made[0].shape[2:] == shape


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: action_train_transform((32, 32)), r"\[frames,height,width\]"),
        (lambda: action_train_transform((2, 32, 32), hflip=2), "hflip=2 of action_train_transform"),
        (lambda: action_train_transform((2, 32, 32), short_side=40), "two numbers"),
        (lambda: action_train_transform((2, 64, 64), short_side=(60, 70)), "crop, 64"),
        (lambda: action_test_transform((2, 32, 32), crop="centre"), "one of center, full"),
        (lambda: action_test_transform((2, 32, 32), short_side=31), "short_side=31 of action_test"),
        (lambda: action_test_transform((2, 32, 32), crop="full", short_side=0), "short_side=0"),
        (lambda: action_test_transform((2, 32, 32), std=(1, 0, 1)), "std must be above 0"),
    ],
)
def test_invalid_arguments(make, message):
    with pytest.raises(UserError, match=message):
        make()
