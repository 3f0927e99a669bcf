"""Pictures: what is painted where, in which size, and that nothing trips over odd input."""

import cv2
import mvit_det
import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances, PolygonMasks, polygons_to_bitmask
from detectron2.utils.visualizer import Visualizer
from pycocotools import mask as coco_mask

GRAY = np.full((120, 160, 3), 110, np.uint8)
BOXES = np.array([[20.0, 40, 60, 90], [90.0, 30, 150, 100]])
POLYGONS = [
    [np.array([20.0, 40, 60, 40, 60, 90, 20, 90])],
    [np.array([90.0, 30, 150, 30, 120, 100])],
]


@pytest.fixture
def metadata():
    entry = MetadataCatalog.get("test_visualizer_only")
    entry.set(thing_classes=["nut", "fig"])
    yield entry
    MetadataCatalog.remove("test_visualizer_only")


def predictions():
    instances = Instances((120, 160))
    instances.pred_boxes = Boxes(torch.tensor(BOXES))
    instances.scores = torch.tensor([0.9, 0.5])
    instances.pred_classes = torch.tensor([0, 1])
    bitmaps = [polygons_to_bitmask(polygons, 120, 160) for polygons in POLYGONS]
    instances.pred_masks = torch.from_numpy(np.stack(bitmaps))
    return instances


def changed(image, ground=GRAY):
    return np.abs(image.astype(int) - ground).sum(axis=2) > 12


def test_predictions_are_painted_where_they_are(metadata):
    picture = Visualizer(GRAY, metadata)
    image = picture.draw_instance_predictions(predictions()).get_image()
    assert image.shape == GRAY.shape and image.dtype == np.uint8
    masks = predictions().pred_masks.numpy()
    for mask in masks:
        assert changed(image)[cv2.erode(mask.astype(np.uint8), np.ones((3, 3))) > 0].mean() > 0.95
    assert not changed(image)[-15:].any() and not changed(image)[:, :10].any()
    assert (GRAY == 110).all()  # the image that came in is untouched


def test_assigned_colours_and_opacity():
    for alpha in (0.2, 0.8):
        picture = Visualizer(GRAY)
        image = picture.overlay_instances(
            masks=PolygonMasks(POLYGONS), assigned_colors=[(0, 1, 0), (0, 1, 0)], alpha=alpha
        ).get_image()
        expected = (1 - alpha) * 110 + alpha * np.array([0, 255, 0])
        np.testing.assert_allclose(image[70, 40], expected, atol=3)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_scale_moves_everything(metadata, scale):
    image = Visualizer(GRAY, metadata, scale).overlay_instances(masks=POLYGONS).get_image()
    assert image.shape == (int(120 * scale), int(160 * scale), 3)
    row, column = int(70 * scale), int(40 * scale)
    assert changed(image, 110)[row - 3 : row + 3, column - 3 : column + 3].all()
    assert not changed(image, 110)[-int(12 * scale) :].any()


def test_dataset_dict_of_all_kinds(metadata):
    mask = np.zeros((120, 160), np.uint8)
    mask[30:100, 90:150] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    annotations = [
        dict(
            bbox=[20, 40, 40, 50],
            bbox_mode=BoxMode.XYWH_ABS,
            category_id=0,
            segmentation=POLYGONS[0],
        ),
        dict(bbox=[90, 30, 60, 70], bbox_mode=BoxMode.XYWH_ABS, category_id=1, segmentation=rle),
    ]
    image = Visualizer(GRAY, metadata).draw_dataset_dict(dict(annotations=annotations)).get_image()
    # Most of both masks: a label may lie on them, and the real host's colours are random.
    assert changed(image)[45:85, 25:55].mean() > 0.7 and changed(image)[35:95, 95:145].mean() > 0.7
    untouched = Visualizer(GRAY, metadata).draw_dataset_dict(dict(annotations=[])).get_image()
    np.testing.assert_array_equal(untouched, GRAY)


def test_boxes_alone_and_nothing_at_all(metadata):
    instances = predictions()
    instances.remove("pred_masks")
    image = Visualizer(GRAY, metadata).draw_instance_predictions(instances).get_image()
    assert changed(image)[65, 20:60].mean() < 0.2 and changed(image)[65, 18:23].any()
    image = Visualizer(GRAY, metadata).draw_instance_predictions(instances[:0]).get_image()
    np.testing.assert_array_equal(image, GRAY)


@pytest.mark.skipif(mvit_det.host() == "real", reason="Detectron2 picks colours at random")
def test_drawing_draws_no_random_numbers(metadata):
    np.random.seed(0)
    expected = np.random.rand()
    np.random.seed(0)
    Visualizer(GRAY, metadata).overlay_instances(boxes=BOXES, labels=["a", "b"])
    assert np.random.rand() == expected


def test_saved_picture_is_the_one_in_memory(tmp_path, metadata):
    output = Visualizer(GRAY, metadata).draw_instance_predictions(predictions())
    output.save(str(tmp_path / "picture.png"))
    saved = cv2.imread(str(tmp_path / "picture.png"))[:, :, ::-1]
    assert np.abs(saved.astype(int) - output.get_image()).max() <= 1
