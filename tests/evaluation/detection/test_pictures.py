"""`PredictionPictures`: predictions next to ground truth."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluators
from detectron2.structures import Boxes, BoxMode, Instances
from PIL import Image

from mvit_det.errors import UserError
from mvit_det.evaluation import PredictionPictures, UnreadableImages

HEIGHT, WIDTH = 60, 80
POLYGON = [[10.0, 10.0, 40.0, 10.0, 40.0, 40.0, 10.0, 40.0]]


@pytest.fixture
def dataset(tmp_path):
    """Register seven gray images with one square each as "pictures_val"."""
    dicts = []
    for i in range(7):
        path = tmp_path / f"image{i}.png"
        Image.new("RGB", (WIDTH, HEIGHT), (120, 120, 120)).save(path)
        square = dict(
            bbox=[10, 10, 30, 30],
            bbox_mode=BoxMode.XYWH_ABS,
            category_id=1,
            segmentation=POLYGON,
            iscrowd=0,
        )
        dicts.append(
            dict(file_name=str(path), image_id=i, height=HEIGHT, width=WIDTH, annotations=[square])
        )
    DatasetCatalog.register("pictures_val", lambda: dicts)
    MetadataCatalog.get("pictures_val").set(thing_classes=["fig", "date"])
    yield dicts
    DatasetCatalog.remove("pictures_val")
    MetadataCatalog.remove("pictures_val")


def detections(scores, masks=True):
    count = len(scores)
    boxes = Boxes(torch.tensor([[45.0, 20.0, 75.0, 50.0]]).repeat(count, 1))
    found = Instances((HEIGHT, WIDTH), pred_boxes=boxes)
    found.scores = torch.tensor(scores)
    found.pred_classes = torch.zeros(count, dtype=torch.int64)
    if masks:
        found.pred_masks = torch.zeros(count, HEIGHT, WIDTH, dtype=torch.bool)
        found.pred_masks[:, 20:50, 45:75] = True
    return {"instances": found}


def evaluate(evaluator, dicts, output):
    evaluator.reset()
    for item in dicts:
        evaluator.process([item], [output])
    return evaluator.evaluate()


def panels(path):
    """Return the images of predictions and ground truth, without captions."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)[34:]
    half = (pixels.shape[1] - 8) // 2
    return pixels[:, :half], pixels[:, -half:]


def saturation(panel, box):
    """Return the largest difference of channels within (x0, y0, x1, y1) of the original image."""
    scale = panel.shape[1] / WIDTH
    x0, y0, x1, y1 = (round(v * scale) for v in box)
    region = panel[y0:y1, x0:x1]
    return np.ptp(region, axis=2).max()


def test_predictions_next_to_ground_truth(dataset, tmp_path):
    evaluator = PredictionPictures("pictures_val", tmp_path, num_images=4)
    assert evaluate(evaluator, dataset, detections([0.9, 0.1])) == {}
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {"overview.png", *(f"{k:02d}_image{2 * k}.png" for k in range(4))}
    left, right = panels(tmp_path / "pictures" / "00_image0.png")
    assert left.shape == right.shape == (480, 640, 3)  # small images are enlarged
    found, truth, background = (48, 24, 70, 48), (14, 14, 36, 36), (50, 2, 76, 12)
    assert saturation(left, found) > 40 and saturation(left, background) < 10
    assert saturation(right, truth) > 40 and saturation(right, background) < 10
    assert saturation(left, (14, 22, 36, 38)) < 10  # no ground truth among the predictions


def test_score_threshold(dataset, tmp_path):
    evaluator = PredictionPictures("pictures_val", tmp_path, num_images=1, score_threshold=0.95)
    evaluate(evaluator, dataset, detections([0.9]))
    left, right = panels(tmp_path / "pictures" / "00_image0.png")
    assert np.ptp(left, axis=2).max() < 10 < 40 < np.ptp(right, axis=2).max()


def test_boxes_only_crowds_and_images_without_annotations(dataset, tmp_path):
    del dataset[0]["annotations"][0]["segmentation"]
    dataset[1]["annotations"] = []
    dataset[2]["annotations"][0]["iscrowd"] = 1
    evaluator = PredictionPictures("pictures_val", tmp_path, num_images=20)
    evaluate(evaluator, dataset, detections([0.9], masks=False))
    assert len(list((tmp_path / "pictures").glob("*_image*.png"))) == 7
    _, right = panels(tmp_path / "pictures" / "00_image0.png")
    assert saturation(right, (8, 8, 42, 42)) > 40 > saturation(right, (14, 20, 36, 36))
    for name in ("01_image1.png", "02_image2.png"):
        assert np.ptp(panels(tmp_path / "pictures" / name)[1], axis=2).max() < 10


def test_a_second_evaluation_replaces_the_pictures(dataset, tmp_path):
    pictures = PredictionPictures("pictures_val", tmp_path, num_images=2)
    both = DatasetEvaluators([pictures, UnreadableImages()])
    assert dict(evaluate(both, dataset, detections([0.9]))) == {}
    first = (tmp_path / "pictures" / "overview.png").read_bytes()
    assert dict(evaluate(both, dataset, detections([]))) == {}
    assert (tmp_path / "pictures" / "overview.png").read_bytes() != first


def test_large_images_are_reduced(dataset, tmp_path):
    Image.new("RGB", (2560, 800)).save(dataset[0]["file_name"])
    evaluator = PredictionPictures("pictures_val", tmp_path, num_images=1)
    found = Instances((800, 2560), pred_boxes=Boxes(torch.tensor([[0.0, 0, 2560, 800]])))
    found.scores, found.pred_classes = torch.tensor([0.9]), torch.tensor([0])
    evaluate(evaluator, dataset[:1], {"instances": found})
    assert panels(tmp_path / "pictures" / "00_image0.png")[0].shape == (400, 1280, 3)


def test_number_of_images_is_checked(tmp_path):
    with pytest.raises(UserError, match="num_images=0"):
        PredictionPictures("pictures_val", tmp_path, num_images=0)


def test_unreadable_images_are_reported(dataset, tmp_path, caplog):
    evaluators = DatasetEvaluators(
        [UnreadableImages(), PredictionPictures("pictures_val", tmp_path, num_images=4)]
    )
    dataset[2]["unreadable"] = "the file does not exist"
    results = evaluate(evaluators, dataset, detections([0.9]))
    assert dict(results) == {"unreadable": {"images": 1}}
    assert "1 of 7 test images could not be read" in caplog.text
    assert f"{dataset[2]['file_name']}: the file does not exist" in caplog.text
    assert not (tmp_path / "pictures" / "01_image2.png").exists()
