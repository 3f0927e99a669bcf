"""RandAugment of clips, compared with timm on whole frames."""

import random

import numpy as np
import pytest
from golden.make_clip_transforms import RAND_AUGMENT, clip, seeded
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

from mvit_det.data.rand_augment import ClipRandAugment, augmented, keep_black_pictures


def whole_frames(frames: np.ndarray, description: str) -> np.ndarray:
    """Apply timm's RandAugment frame by frame, with the same random numbers for all."""
    policy = rand_augment_transform(description, {"interpolation": Image.Resampling.BICUBIC})
    keep_black_pictures(policy.ops)
    states = random.getstate(), np.random.get_state()
    made = []
    for frame in frames:
        random.setstate(states[0]), np.random.set_state(states[1])
        made.append(np.asarray(policy(Image.fromarray(frame))))
    return np.stack(made)


@pytest.mark.parametrize(
    "description",
    [
        RAND_AUGMENT,
        "rand-m10-n6-mstd2-inc1",
        "rand-m7-n3-inc1",
        "rand-m9-n8-mstd101",
        "rand-n2-t3aw",
    ],
)
@pytest.mark.parametrize("shape", [(64, 48), (51, 63)])
def test_crops_equal_those_of_augmented_whole_frames_bit_for_bit(description, shape):
    augment = ClipRandAugment(description)
    frames = clip(*shape)
    width, height = shape
    box = np.random.default_rng(1)
    for seed in range(20):
        seeded(seed)
        expected = whole_frames(frames, description)
        left, top = box.integers(width), box.integers(height)
        right, bottom = box.integers(left, width) + 1, box.integers(top, height) + 1
        seeded(seed)
        steps = augment.draw(width, height)
        for cut in ((left, top, right, bottom), (0, 0, width, height)):
            made = augmented(frames, steps, tuple(int(side) for side in cut))
            assert np.array_equal(made, expected[:, cut[1] : cut[3], cut[0] : cut[2]]), seed


def test_only_the_pixels_that_a_crop_depends_on_are_computed():
    seeded(0)
    augment = ClipRandAugment("rand-m7-n1-p1-mstd0.5-inc1")
    areas = {}
    for _ in range(200):
        (step,) = augment.draw(1000, 1000)
        left, top, right, bottom = step.needs((500, 500, 600, 600), (1000, 1000))
        operation = getattr(step, "operation", None)
        name = operation.__name__.strip("_") if operation else "move"
        areas.setdefault(name, set()).add((right - left) * (bottom - top))
    assert areas.pop("sharpness") == {102 * 102}
    for name in ("auto_contrast", "equalize", "contrast"):
        assert areas.pop(name) == {10**6}
    assert max(areas.pop("move")) < 160 * 160
    assert areas == dict.fromkeys(
        ["invert", "posterize", "solarize", "solarize_add", "color", "brightness"], {10**4}
    )
