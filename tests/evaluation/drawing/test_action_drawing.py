"""Boxes with panels of text: colours, places, legibility."""

import numpy as np
import pytest

from mvit_det.evaluation.drawing.people import draw_people

GRAY = np.full((480, 640, 3), 120, np.uint8)
ACTIONS = ["91% talk to (e.g., self, a person, a group)", "60% sit"]


def changed(boxes, labels, image=GRAY, **more) -> np.ndarray:
    """Return which pixels (H, W) have been drawn on."""
    return (draw_people(image, np.array(boxes), labels, **more) != image).any(axis=-1)


def panel(boxes, labels, **more) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right of the pixels that labels add to boxes."""
    added = changed(boxes, labels, **more) & ~changed(boxes, [[]] * len(boxes), **more)
    rows, columns = np.flatnonzero(added.any(axis=1)), np.flatnonzero(added.any(axis=0))
    return rows[0], rows[-1], columns[0], columns[-1]


def test_boxes_have_different_colours():
    boxes = [[0.25, 0.25, 0.5, 0.75], [0.6, 0.3, 0.9, 0.6]]
    drawn = draw_people(GRAY, np.array(boxes), [[], []], [(255, 0, 0), (0, 0, 255)])
    assert (GRAY == 120).all() and drawn.shape == GRAY.shape
    assert drawn[240, 160].tolist() == [255, 0, 0] == drawn[120, 200].tolist()
    assert drawn[240, 384].tolist() == [0, 0, 255] == drawn[287, 500].tolist()
    assert drawn[240, 240].tolist() == [120] * 3  # the inside is unchanged
    by_default = draw_people(GRAY, np.array(boxes), [[], []])
    assert by_default[240, 160].tolist() != by_default[240, 384].tolist()
    assert np.array_equal(draw_people(GRAY, np.zeros((0, 4)), []), GRAY)


def test_a_panel_is_above_its_box_or_inside_it():
    top, bottom, left, right = panel([[0.3, 0.5, 0.8, 0.9]], [ACTIONS])
    assert bottom < 240 and 192 <= left < 200 and right < 512
    top, bottom, left, right = panel([[0.3, 0.0, 0.8, 0.9]], [ACTIONS])
    assert top < 10 and bottom < 80 and left >= 192 and right < 512


def test_a_panel_does_not_hide_a_small_person():
    """The box is at the top of the image, without space above it."""
    top, _, left, _ = panel([[0.3, 0.02, 0.4, 0.12]], [["sit", "dance", "sing"]])
    assert top > 0.12 * 480 or left > 0.4 * 640


def test_panels_do_not_overlap():
    boxes = [[0.1, 0.3, 0.6, 0.9]] * 2
    alone = [changed(boxes, [ACTIONS, []]).sum(), changed(boxes, [[], ACTIONS]).sum()]
    both, boxes_only = changed(boxes, [ACTIONS, ACTIONS]).sum(), changed(boxes, [[], []]).sum()
    # pixels on the line of a box do not count
    assert both - boxes_only == pytest.approx(sum(alone) - 2 * boxes_only, rel=0.05)


def test_long_names_are_wrapped_into_narrow_boxes():
    broad = panel([[0.2, 0.5, 0.9, 0.9]], [ACTIONS])
    narrow = panel([[0.4, 0.5, 0.45, 0.9]], [ACTIONS])
    assert narrow[1] - narrow[0] > 1.4 * (broad[1] - broad[0])
    assert narrow[3] - narrow[2] < 0.7 * (broad[3] - broad[2])


@pytest.mark.parametrize(
    "box", [[0, 0, 1, 1], [0.99, 0.99, 1, 1], [0, 0, 0.01, 0.01], [2, 2, 3, 3]]
)
@pytest.mark.parametrize("size", [(480, 640), (7, 5), (1, 900)])
def test_boxes_and_images_of_extreme_sizes(box, size):
    image = np.full((*size, 3), 120, np.uint8)
    assert changed([box], [ACTIONS * 9], image).any()
    assert draw_people(image[..., ::-1], np.array([box]), [ACTIONS]).shape == image.shape
