"""Views for multi-scale testing: pixels, boxes and masks."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T

from mvit_det.detection.views import View, plan_views
from mvit_det.errors import UserError


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))


def resize_as_mapper(image, short_side, max_size):
    """Resize an image as the test mapper does."""
    aug_input = T.AugInput(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    T.ResizeShortestEdge([short_side], max_size, "choice")(aug_input)
    return torch.from_numpy(aug_input.image.transpose(2, 0, 1).copy())


@pytest.mark.parametrize("size", [(60, 91), (91, 60), (33, 33), (17, 203)])
def test_views_are_the_images_of_the_mapper_and_their_mirrors(size):
    image = picture(*size)
    before = image.clone()
    views = plan_views(size, [40, 75], 120, flip=True)
    assert [v.mirrored for v in views] == [False, True] * (len(views) // 2)
    expected = [resize_as_mapper(image, side, 120) for side in (40, 75)]
    if size == (17, 203):  # the long side decides both times
        assert len(views) == 2
        expected = expected[:1]
    for upright, mirrored, pixels in zip(views[::2], views[1::2], expected):
        assert torch.equal(upright.apply_image(image), pixels)
        assert torch.equal(mirrored.apply_image(image), pixels.flip(-1))
    assert torch.equal(image, before)


def test_without_short_sides_the_image_keeps_its_size():
    image = picture(20, 31).float() / 3  # of any type
    assert plan_views((20, 31), [], 10, flip=False) == [View((20, 31))]
    upright, mirrored = plan_views((20, 31), [], 10, flip=True)
    assert torch.equal(upright.apply_image(image), image)
    assert torch.equal(mirrored.apply_image(image), image.flip(-1))


def test_resizing_draws_no_random_number_and_keeps_every_side():
    before = np.random.get_state()[1:3]
    (view,) = plan_views((2, 9000), [400], 1333, flip=False)
    view.apply_image(picture(2, 9000))
    assert view.size == (1, 1333) and str(np.random.get_state()[1:3]) == str(before)


def test_an_image_that_is_not_uint8_is_not_resized():
    with pytest.raises(UserError, match="float32 cannot be resized for test_short_sides"):
        View((10, 10)).apply_image(torch.rand(3, 20, 20))


def test_boxes_by_hand():
    boxes = torch.tensor([[10.0, 20, 30, 60]])
    view = View((50, 200), mirrored=True)  # half as high, twice as wide as the frame
    assert view.boxes_from_frame(boxes, (100, 100)).tolist() == [[140, 10, 180, 30]]
    assert view.boxes_to_frame(torch.tensor([[140.0, 10, 180, 30]]), (100, 100)).tolist() == [
        [10, 20, 30, 60]
    ]


def test_a_view_of_the_frame_size_changes_no_bit():
    boxes = torch.rand(1000, 4) * 1000
    view = View((479, 641))
    assert torch.equal(view.boxes_to_frame(boxes, view.size), boxes)
    assert torch.equal(view.boxes_from_frame(boxes, view.size), boxes)


def test_a_converted_box_has_the_same_content_in_its_view():
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    image[:, 8:20, 12:36] = 255
    frame, boxes = (40, 60), torch.tensor([[12.0, 8, 36, 20]])
    for view in plan_views(frame, [40, 80], 1000, flip=True):
        x0, y0, x1, y1 = view.boxes_from_frame(boxes, frame)[0].int().tolist()
        bright = view.apply_image(image)[0] > 127
        assert bright[y0:y1, x0:x1].all() and bright.sum() == (y1 - y0) * (x1 - x0)


def test_masks_are_mirrored_back():
    masks = torch.rand(2, 1, 4, 4)
    assert torch.equal(View((9, 9)).masks_to_frame(masks), masks)
    assert torch.equal(View((9, 9), mirrored=True).masks_to_frame(masks), masks.flip(-1))
