"""Boxes, Instances, ImageList and masks against numbers computed by hand; on either host."""

import copy
import pickle

import numpy as np
import pytest
import torch
from detectron2.structures import (
    BitMasks,
    Boxes,
    BoxMode,
    ImageList,
    Instances,
    PolygonMasks,
    pairwise_iou,
    polygons_to_bitmask,
)

ROWS = [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 5.0, 7.0]]


@pytest.fixture
def boxes():
    return Boxes(torch.tensor(ROWS))


def test_boxes_sizes_and_centres(boxes):
    assert boxes.area().tolist() == [4, 100, 0]
    assert boxes.get_centers().tolist() == [[2, 3], [5, 5], [5, 6]]
    assert boxes.nonempty().tolist() == [True, True, False]
    assert boxes.nonempty(threshold=2.0).tolist() == [False, True, False]
    assert len(boxes) == 3 and [b.tolist() for b in boxes] == ROWS


def test_boxes_clip_replaces_the_tensor():
    tensor = torch.tensor([[-2.0, -1.0, 18.0, 6.0]])
    boxes = Boxes(tensor)
    boxes.clip((4, 10))
    assert boxes.tensor.tolist() == [[0, 0, 10, 4]]
    assert tensor.tolist() == [[-2, -1, 18, 6]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_boxes_that_are_not_finite_cannot_be_clipped(value):
    with pytest.raises(AssertionError):
        Boxes(torch.tensor([[0.0, 0.0, value, 1.0]])).clip((5, 5))


def test_boxes_indexing_returns_boxes(boxes):
    assert boxes[0].tensor.tolist() == ROWS[:1]
    assert boxes[-1].tensor.tolist() == ROWS[2:]
    for item in ([0, 2], torch.tensor([True, False, True]), torch.tensor([0, 2])):
        assert boxes[item].tensor.tolist() == [ROWS[0], ROWS[2]]
    assert boxes[:0].tensor.shape == (0, 4)
    with pytest.raises(IndexError):
        boxes[3]


def test_boxes_from_arrays_and_concatenated(boxes):
    assert Boxes(torch.zeros(0)).tensor.shape == (0, 4)
    assert Boxes(np.ones((2, 4))).tensor.dtype == torch.float32
    assert Boxes.cat([]).tensor.shape == (0, 4)
    joined = Boxes.cat([boxes, boxes[1]])
    assert joined.tensor.tolist() == ROWS + [ROWS[1]]
    with pytest.raises(AssertionError):
        Boxes(torch.zeros(2, 5))


def test_pairwise_iou_by_hand(boxes):
    iou = pairwise_iou(boxes, Boxes([[0, 0, 10, 5], [5, 5, 5, 7], [2, 3, 3, 5]]))
    expected = [[4 / 50, 0, 1 / 5], [0.5, 0, 0.02], [0, 0, 0]]
    torch.testing.assert_close(iou, torch.tensor(expected))
    assert pairwise_iou(boxes, Boxes([])).shape == (3, 0)
    assert pairwise_iou(Boxes([[float("nan")] * 4]), boxes).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("kind", [list, tuple])
def test_box_mode_converts_lists_and_tuples(kind):
    xyxy = BoxMode.convert(kind([10, 20, 3, 4]), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert xyxy == kind([10, 20, 13, 24]) and type(xyxy) is kind
    assert BoxMode.convert(xyxy, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS) == kind([10, 20, 3, 4])
    assert BoxMode.convert(xyxy, BoxMode.XYXY_ABS, BoxMode.XYXY_ABS) is xyxy


def test_box_mode_converts_copies_of_arrays_and_tensors():
    array = np.array([[1.5, 2, 3, 4], [0, 0, 1, 1]])
    before = array.copy()
    converted = BoxMode.convert(array, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert converted.dtype == np.float64 and converted.tolist() == [[1.5, 2, 4.5, 6], [0, 0, 1, 1]]
    assert (array == before).all()
    tensor = BoxMode.convert(torch.zeros(0, 4), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert tensor.shape == (0, 4)


def test_box_mode_values_and_errors():
    assert (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS) == (0, 1)
    with pytest.raises((NotImplementedError, AssertionError)):
        BoxMode.convert([0, 0, 1, 1], BoxMode.XYXY_ABS, 2)  # relative
    with pytest.raises((AssertionError, RuntimeError)):
        BoxMode.convert([0, 0, 1], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)


@pytest.fixture
def instances(boxes):
    return Instances((10, 20), gt_boxes=boxes, gt_classes=torch.arange(3), names=["a", "b", "c"])


def test_instances_fields(instances):
    assert len(instances) == 3 and instances.image_size == (10, 20)
    instances.scores = torch.ones(3)
    assert instances.has("scores") and instances.get("scores") is instances.scores
    assert list(instances.get_fields()) == ["gt_boxes", "gt_classes", "names", "scores"]
    instances.remove("scores")
    assert not instances.has("scores")
    with pytest.raises(AttributeError, match="scores"):
        assert instances.scores
    with pytest.raises(KeyError):
        instances.get("scores")
    with pytest.raises(AssertionError, match="2"):
        instances.scores = torch.ones(2)


def test_instances_indexing(instances):
    assert instances[1].names == ["b"] and instances[-1].gt_classes.tolist() == [2]
    assert instances[1:].gt_boxes.tensor.tolist() == ROWS[1:]
    instances.remove("names")
    masked = instances[torch.tensor([True, False, True])]
    assert masked.gt_classes.tolist() == [0, 2] and masked.image_size == (10, 20)
    for bad in (3, -4):
        with pytest.raises(IndexError):
            instances[bad]


def test_instances_concatenated_and_moved(instances):
    joined = Instances.cat([instances, instances[0]])
    assert joined.names == ["a", "b", "c", "a"] and joined.gt_classes.tolist() == [0, 1, 2, 0]
    assert len(joined.gt_boxes) == 4
    with pytest.raises(AssertionError):
        Instances.cat([instances, Instances((1, 1), gt_classes=torch.zeros(1))])
    assert instances.to("cpu").names == ["a", "b", "c"]


def test_instances_print_copy_and_pickle(instances):
    assert str(instances).startswith(
        "Instances(num_instances=3, image_height=10, image_width=20, fields=[gt_boxes: Boxes("
    )
    for clone in (copy.deepcopy(instances), pickle.loads(pickle.dumps(instances))):
        assert clone.image_size == (10, 20) and clone.gt_classes.tolist() == [0, 1, 2]


def test_instances_without_fields_have_no_length_and_cannot_be_iterated(instances):
    for call in (lambda: len(Instances((1, 1))), lambda: iter(instances)):
        with pytest.raises((NotImplementedError, TypeError)):
            call()


def test_image_list_pads_right_and_bottom():
    images = [torch.ones(3, 4, 5), torch.ones(3, 6, 2)]
    batch = ImageList.from_tensors(images, 4)
    assert batch.tensor.shape == (2, 3, 8, 8) and batch.image_sizes == [(4, 5), (6, 2)]
    assert (batch.tensor[0, :, :4, :5] == 1).all() and batch.tensor[0].sum() == 3 * 4 * 5
    assert (batch.tensor[1, :, :6, :2] == 1).all() and batch.tensor[1].sum() == 3 * 6 * 2
    assert ImageList.from_tensors(images).tensor.shape == (2, 3, 6, 5)


@pytest.fixture
def bitmasks():
    bitmaps = torch.zeros(3, 6, 8)
    bitmaps[0, 1:4, 2:7] = 1
    bitmaps[1, 5, 0] = 1
    return BitMasks(bitmaps)


def test_bitmasks_boxes(bitmasks):
    assert bitmasks.tensor.dtype == torch.bool
    assert bitmasks.nonempty().tolist() == [True, True, False]
    assert bitmasks.get_bounding_boxes().tensor.tolist() == [
        [2, 1, 7, 4],
        [0, 5, 1, 6],
        [0, 0, 0, 0],
    ]
    assert bitmasks[1].get_bounding_boxes().tensor.tolist() == [[0, 5, 1, 6]]
    assert len(BitMasks(torch.zeros(0, 6, 8)).get_bounding_boxes()) == 0


def test_bitmasks_crop_and_resize(bitmasks):
    boxes = torch.tensor([[2.0, 1, 7, 4], [0, 4, 2, 6], [0, 0, 8, 6]])
    crops = bitmasks.crop_and_resize(boxes, 2)
    assert crops.tolist() == [
        [[True, True], [True, True]],
        [[False, False], [True, False]],
        [[False, False], [False, False]],
    ]
    empty = BitMasks(torch.zeros(0, 6, 8)).crop_and_resize(torch.zeros(0, 4), 2)
    assert empty.shape == (0, 2, 2)


SQUARE, TRIANGLE = [2.0, 2, 6, 2, 6, 6, 2, 6], [10.0, 0, 14, 0, 10, 2]


@pytest.fixture
def polygons():
    return PolygonMasks([[np.array(SQUARE)], [np.array(SQUARE), np.array(TRIANGLE)], []])


def test_polygon_masks_boxes(polygons):
    assert polygons.nonempty().tolist() == [True, True, False]
    inf = float("inf")
    assert polygons.get_bounding_boxes().tensor.tolist() == [
        [2, 2, 6, 6],
        [2, 0, 14, 6],
        [inf, inf, 0, 0],
    ]
    assert not polygons.get_bounding_boxes().nonempty()[2]


def test_polygon_masks_indexing(polygons):
    for item in (torch.tensor([True, False, True]), torch.tensor([0, 2]), [0, 2], slice(0, 3, 2)):
        assert polygons[item].nonempty().tolist() == [True, False]
    assert len(polygons[1]) == 1 and len(polygons[1].polygons[0]) == 2
    assert [len(parts) for parts in polygons] == [1, 2, 0]


def test_polygon_masks_crop_and_resize(polygons):
    boxes = torch.tensor([[2.0, 2, 6, 6], [0, 0, 8, 8], [0, 0, 8, 8]])
    crops = polygons.crop_and_resize(boxes, 4)
    assert crops.shape == (3, 4, 4) and crops.dtype == torch.bool
    assert crops[0].all() and not crops[2].any()
    assert crops[1].nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert PolygonMasks([]).crop_and_resize(torch.zeros(0, 4), 4).shape == (0, 4, 4)


@pytest.mark.parametrize("bad", [[1.0, 2, 3, 4], [1.0, 2, 3, 4, 5, 6, 7]])
def test_polygon_masks_refuse_invalid_polygons(bad):
    with pytest.raises(ValueError):
        PolygonMasks([[np.array(bad)]])


def test_polygons_to_bitmasks():
    bitmap = polygons_to_bitmask([np.array(SQUARE)], 8, 10)
    assert bitmap.dtype == bool and bitmap[2:6, 2:6].all() and bitmap.sum() == 16
    assert not polygons_to_bitmask([], 8, 10).any()
