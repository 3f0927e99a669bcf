"""Instances drawn onto images: masks, boxes, labels, colours."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from mvit_det.evaluation.drawing.boxes import class_colour, enlargement, overlay, resize_image


@pytest.mark.parametrize(
    "size, scale",
    [((1, 1), 480), ((240, 320), 2), ((480, 9999), 1), ((2000, 2000), 1), ((10, 640), 2)],
)
def test_enlargement(size, scale):
    assert enlargement(*size) == scale


def test_resize_image():
    image = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    assert resize_image(image, 1.5).shape == (45, 60, 3)
    assert resize_image(image, 0.01).shape == (1, 1, 3)
    assert np.array_equal(resize_image(image, 1.0), image)


def instances(**fields) -> Instances:
    boxes = Boxes(torch.tensor([[4.0, 4.0, 16.0, 16.0]]))
    return Instances((20, 20), pred_boxes=boxes, pred_classes=torch.tensor([2]), **fields)


def test_overlay_scales_boxes_and_masks():
    image = np.full((400, 400, 3), 120, np.uint8)
    masks = torch.zeros(1, 20, 20, dtype=torch.bool)
    masks[:, 6:14, 6:14] = True
    drawn = overlay(image, instances(pred_masks=masks), ["a", "b", "c"]).astype(int)
    assert drawn.shape == image.shape and (image == 120).all()
    expected = 120 * 0.65 + 0.35 * np.array(class_colour(2))
    assert np.abs(drawn[220, 200] - expected).max() < 4
    assert np.ptp(drawn[:60], axis=2).max() < 10  # nothing above the label
    edge = drawn[200, 74:86]  # the left side of the box
    assert np.ptp(edge, axis=1).max() > 40


def test_small_masks_are_drawn_over_large_ones():
    image = np.full((400, 400, 3), 120, np.uint8)
    masks = torch.ones(2, 40, 40, dtype=torch.bool)
    masks[0, :, 20:] = masks[0, :20] = False  # the first one is the lower left quarter
    boxes = Boxes(torch.tensor([[0.0, 20, 20, 40], [0, 0, 40, 40]]))
    both = Instances((40, 40), pred_boxes=boxes, pred_masks=masks)
    both.pred_classes = torch.tensor([0, 1])
    drawn = overlay(image, both, ["small", "large"]).astype(int)
    for (row, column), label in {(300, 100): 0, (100, 100): 1, (300, 300): 1}.items():
        expected = 120 * 0.65 + 0.35 * np.array(class_colour(label))
        assert np.abs(drawn[row, column] - expected).max() < 4
    # the edge of the small mask is more opaque
    assert np.abs(drawn[300, 199] - np.array(class_colour(0))).max() < 40


def test_a_label_is_above_its_box_within_the_image():
    image = np.full((300, 400, 3), 120, np.uint8)
    for corner in ([4.0, 10, 14, 18], [0, 0, 5, 5], [36, 0, 40, 5], [30, 28, 40, 30]):
        item = Instances((30, 40), pred_boxes=Boxes(torch.tensor([corner])))
        item.pred_classes = torch.tensor([0])
        drawn = overlay(image, item, ["a name of some length"])
        rows, columns = np.nonzero((drawn < 40).all(axis=2))  # the background of the label
        assert rows.max() < max(10 * corner[1], rows.min() + 30) and np.ptp(columns) > 90
        assert abs(columns.min() - min(10 * corner[0], 399 - np.ptp(columns))) < 3


def test_overlay_without_masks_scores_names_or_instances():
    image = np.full((200, 200, 3), 120, np.uint8)
    indices = overlay(image, instances(), None)
    assert np.ptp(indices[44:156, 44:156], axis=2).max() < 60 < np.ptp(indices, axis=2).max()
    scored = overlay(image, instances(scores=torch.tensor([0.5])), None)
    assert not np.array_equal(scored, indices)
    assert np.array_equal(overlay(image, instances()[:0], None), image)


def test_colours_differ_and_are_the_same_at_each_call():
    colours = [class_colour(index) for index in range(80)]
    assert len(set(colours)) == 80 and colours == [class_colour(index) for index in range(80)]
    assert all(0 <= part <= 255 for colour in colours for part in colour)
