"""Augmentations: sizes, random draws, and equal changes of image, boxes and labels."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from PIL import Image

RAMP = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)


def apply(augmentation, image=RAMP, seed=0):
    np.random.seed(seed)
    aug_input = T.AugInput(image, boxes=np.array([[5.0, 10, 25, 30]]))
    return augmentation(aug_input), aug_input


@pytest.mark.parametrize(
    "old, short, limit, expected",
    [
        ((480, 640), 800, 1333, (800, 1067)),
        ((427, 640), 640, 1333, (640, 959)),
        ((1000, 300), 480, 1333, (1333, 400)),
        ((1, 2000), 480, 1333, (1, 1333)),
    ],
)
def test_output_shape_of_shortest_edge(old, short, limit, expected):
    assert T.ResizeShortestEdge.get_output_shape(*old, short, limit) == expected


def test_shortest_edge_draws_from_the_list_or_the_range():
    choice = T.ResizeShortestEdge([20, 30], sample_style="choice")
    lengths = {apply(choice, seed=seed)[0].new_h for seed in range(20)}
    assert lengths == {20, 30}
    ranged = {apply(T.ResizeShortestEdge((20, 23)), seed=seed)[0].new_h for seed in range(60)}
    assert ranged == {20, 21, 22, 23}
    with pytest.raises(AssertionError):
        T.ResizeShortestEdge((20, 21, 22), sample_style="range")


@pytest.mark.parametrize("channels", [0, 1, 3])
def test_bytes_are_resized_by_pillow(channels):
    image = RAMP[:, :, :channels] if channels else RAMP[:, :, 0]
    resized = T.ResizeTransform(40, 60, 25, 31).apply_image(image)
    assert resized.shape == (25, 31) + image.shape[2:] and resized.dtype == np.uint8
    first = image[:, :, 0] if channels else image
    expected = np.asarray(Image.fromarray(first.copy()).resize((31, 25), Image.BILINEAR))
    np.testing.assert_array_equal(resized[:, :, 0] if channels else resized, expected)


def test_labels_are_resized_without_interpolation():
    labels = np.random.RandomState(0).choice([0, 7, 200], (40, 60)).astype(np.uint8)
    resized = T.ResizeTransform(40, 60, 33, 77).apply_segmentation(labels)
    assert set(np.unique(resized)) == {0, 7, 200}


def test_resize_of_points_and_its_inverse():
    resize = T.ResizeTransform(40, 60, 20, 180)
    points = np.array([[3.0, 4.0], [60.0, 40.0]])
    scaled = resize.apply_coords(points.copy())
    np.testing.assert_allclose(scaled, [[9, 2], [180, 20]])
    np.testing.assert_allclose(resize.inverse().apply_coords(scaled), points)


def test_resizing_refuses_an_image_of_another_size():
    with pytest.raises(AssertionError):
        T.ResizeTransform(41, 60, 20, 30).apply_image(RAMP)


def test_flip_of_image_and_boxes():
    chosen, flipped = apply(T.RandomFlip(prob=1.0))
    assert isinstance(chosen, T.HFlipTransform)
    np.testing.assert_array_equal(flipped.image, RAMP[:, ::-1])
    np.testing.assert_allclose(flipped.boxes, [[35, 10, 55, 30]])
    chosen, flipped = apply(T.RandomFlip(prob=1.0, horizontal=False, vertical=True))
    np.testing.assert_array_equal(flipped.image, RAMP[::-1])
    chosen, _ = apply(T.RandomFlip(prob=0.0))
    assert isinstance(chosen, T.NoOpTransform)
    with pytest.raises(ValueError):
        T.RandomFlip(horizontal=True, vertical=True)


@pytest.mark.parametrize(
    "kind, size, least, most",
    [
        ("absolute", (10, 100), (10, 60), (10, 60)),
        ("absolute_range", (15, 50), (15, 15), (40, 50)),
        ("relative", (0.5, 0.25), (20, 15), (20, 15)),
        ("relative_range", (0.5, 0.25), (20, 15), (40, 60)),
    ],
)
def test_random_crop_sizes(kind, size, least, most):
    crops = [apply(T.RandomCrop(kind, size), seed=seed)[1].image.shape[:2] for seed in range(50)]
    assert (np.min(crops, axis=0) >= least).all() and (np.max(crops, axis=0) <= most).all()
    assert len(set(crops)) == 1 if least == most else len(set(crops)) > 10


def test_random_crop_of_image_and_boxes():
    crop, cropped = apply(T.RandomCrop("absolute", (11, 13)), seed=3)
    window = RAMP[crop.y0 : crop.y0 + 11, crop.x0 : crop.x0 + 13]
    np.testing.assert_array_equal(cropped.image, window)
    np.testing.assert_allclose(
        cropped.boxes, [[5 - crop.x0, 10 - crop.y0, 25 - crop.x0, 30 - crop.y0]]
    )
    with pytest.raises(AssertionError):
        T.RandomCrop("sideways", (1, 1))


@pytest.mark.parametrize("seed", range(8))
def test_large_scale_jitter_has_the_target_size(seed):
    jitter = T.AugmentationList(
        [T.ResizeScale(0.1, 2.0, 48, 48), T.FixedSizeCrop((48, 48), pad_value=128)]
    )
    chosen, jittered = apply(jitter, seed=seed)
    assert jittered.image.shape == (48, 48, 3)
    resize = chosen.transforms[0]
    assert abs(resize.new_w / resize.new_h - 1.5) < 0.1  # the aspect ratio is kept
    if resize.new_h < 48:
        assert (jittered.image[resize.new_h :] == 128).all()
    np.testing.assert_allclose(
        jittered.boxes, chosen.apply_box(np.array([[5.0, 10, 25, 30]])), atol=1e-9
    )


def test_fixed_size_crop_without_padding():
    _, cropped = apply(T.FixedSizeCrop((48, 32), pad=False))
    assert cropped.image.shape == (40, 32, 3)


def test_random_apply_has_its_probability():
    maybe = T.RandomApply(T.AugmentationList([T.Resize(20), T.RandomFlip(1.0)]), prob=0.3)
    shapes = [apply(maybe, seed=seed)[1].image.shape[0] for seed in range(200)]
    assert 0.2 < shapes.count(20) / 200 < 0.4
    with pytest.raises(AssertionError):
        T.RandomApply(T.RandomFlip(), prob=1.5)


@pytest.mark.parametrize(
    "augmentation, expected",
    [
        (T.RandomBrightness(0.5, 0.5), [100, 50, 25]),
        (T.RandomBrightness(3.0, 3.0), [255, 255, 150]),
        (T.RandomContrast(0.0, 0.0), [116.66] * 3),
        (T.RandomSaturation(0.0, 0.0), [0.299 * 200 + 0.587 * 100 + 0.114 * 50] * 3),
        (T.RandomSaturation(1.0, 1.0), [200, 100, 50]),
        (T.RandomLighting(0.0), [200, 100, 50]),
        (T.ColorTransform(lambda pixels: 255 - pixels), [55, 155, 205]),
        (T.PILColorTransform(lambda image: image.point(lambda v: v // 2)), [100, 50, 25]),
    ],
    ids=lambda x: "" if isinstance(x, list) else type(x).__name__,
)
def test_colours_change_and_boxes_do_not(augmentation, expected):
    image = np.full((40, 60, 3), (200, 100, 50), np.uint8)
    _, changed = apply(T.AugmentationList([augmentation]), image)
    np.testing.assert_allclose(changed.image[7, 9], expected, atol=1)
    assert changed.boxes.tolist() == [[5, 10, 25, 30]] and changed.image.dtype == np.uint8


def test_lighting_shifts_all_pixels_equally():
    _, changed = apply(T.RandomLighting(40.0), np.full((4, 6, 3), 128, np.uint8), seed=1)
    assert len(np.unique(changed.image.reshape(-1, 3), axis=0)) == 1
    assert not (changed.image == 128).all()


def test_rotation_by_90_degrees():
    chosen, turned = apply(T.RandomRotation([90], sample_style="choice"))
    np.testing.assert_array_equal(turned.image, np.rot90(RAMP))
    np.testing.assert_allclose(turned.boxes, [[10, 35, 30, 55]], atol=1e-9)
    np.testing.assert_array_equal(chosen.inverse().apply_image(turned.image), RAMP)
    assert isinstance(apply(T.RandomRotation(0.0))[0], T.NoOpTransform)


def test_rotation_without_expand_keeps_its_centre():
    rotation = T.RandomRotation(30.0, expand=False, center=(0.25, 0.5))
    chosen, turned = apply(rotation)
    assert turned.image.shape == RAMP.shape
    np.testing.assert_allclose(chosen.apply_coords(np.array([[15.0, 20.0]])), [[15, 20]])
    with pytest.raises(NotImplementedError):
        chosen.inverse()


def test_extent_outside_of_the_image_is_black():
    chosen, cut = apply(T.RandomExtent((2.0, 2.0), (0.0, 0.0)), np.full((40, 60, 3), 9, np.uint8))
    assert cut.image.shape == (80, 120, 3) and (cut.image[20:60, 30:90] == 9).all()
    assert cut.image.sum() == 9 * 40 * 60 * 3
    np.testing.assert_allclose(cut.boxes, [[35, 30, 55, 50]])


def test_resize_of_floats():
    image = RAMP.astype(np.float32) / 255
    resized = T.ResizeTransform(40, 60, 80, 120).apply_image(image)
    assert resized.shape == (80, 120, 3) and resized.dtype == np.float32
    np.testing.assert_allclose(resized.mean(), image.mean(), atol=0.02)


def test_custom_augmentation_gets_the_inputs_that_it_names():
    class ShiftToFirstBox(T.Augmentation):
        def __init__(self, margin=0):
            super().__init__()
            self._init(locals())

        def get_transform(self, image, boxes):
            left, top = boxes[0, :2].astype(int) - self.margin
            return T.CropTransform(left, top, image.shape[1] - left, image.shape[0] - top)

    _, shifted = apply(T.AugmentationList([T.HFlipTransform(60), ShiftToFirstBox(margin=2)]))
    np.testing.assert_allclose(shifted.boxes[0, :2], [2, 2])
    assert repr(ShiftToFirstBox(margin=3)) == "ShiftToFirstBox(margin=3)"

    class NeedsDepth(T.Augmentation):
        def get_transform(self, image, depth):
            return T.NoOpTransform()

    with pytest.raises(AttributeError, match="depth"):
        apply(NeedsDepth())


def test_input_that_is_not_an_image_is_refused():
    with pytest.raises(AssertionError):
        T.AugInput([[1, 2], [3, 4]])
    with pytest.raises(AssertionError):
        T.AugInput(np.zeros((2, 3, 4, 5)))
