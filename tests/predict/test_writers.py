"""Annotated pictures and videos, and the two JSON files."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mvit_det.data import open_video
from mvit_det.errors import UserError
from mvit_det.evaluation.drawing.boxes import class_colour
from mvit_det.predict.sources import Frame, Picture, Video
from mvit_det.predict.writers import make_folder, open_results
from mvit_det.tasks.detection import BoxInference

DETECTION = BoxInference(augmentations=lambda given: None, image_format="BGR")
CATEGORIES = [{"id": 3, "name": "date"}, {"id": 7, "name": "fig"}]
PREDICTOR = SimpleNamespace(inference=DETECTION, categories=CATEGORIES)


def detections(size=(60, 80), count=2, masks=True) -> Instances:
    found = Instances(size, pred_boxes=Boxes(torch.tensor([[40.0, 20.0, 70.0, 50.0]] * count)))
    found.scores = torch.tensor([0.9, 0.75][:count])
    found.pred_classes = torch.tensor([1, 0][:count])
    if masks:
        found.pred_masks = torch.zeros(count, *size, dtype=torch.bool)
        found.pred_masks[:, 22:48, 42:68] = True
    return found


def gray(height=60, width=80) -> np.ndarray:
    return np.full((height, width, 3), 120, np.uint8)


def write(folder, frames, found=None) -> dict:
    """Write all frames with the same detections; return the content of images.json."""
    make_folder(folder)
    paths = [frame.source.path for frame in frames]
    with open_results(folder, PREDICTOR, paths) as results:
        for frame in frames:
            instances = detections(frame.image.shape[:2]) if found is None else found
            results.add(frame, instances)
    return json.loads((folder / "images.json").read_text())


def pictures(*names) -> list[Frame]:
    return [Frame(Picture(Path("photos") / name), 0, gray()) for name in names]


def test_results_in_coco_format():
    first, second = DETECTION.rows(detections(), 5, CATEGORIES)
    assert list(first) == ["image_id", "category_id", "bbox", "score", "segmentation"]
    assert (first["image_id"], first["category_id"], second["category_id"]) == (5, 7, 3)
    assert first["bbox"] == [40, 20, 30, 30] and first["score"] == pytest.approx(0.9)
    mask = coco_mask.decode(first["segmentation"])
    assert np.array_equal(mask, detections().pred_masks[0])
    assert "segmentation" not in DETECTION.rows(detections(masks=False), 5, CATEGORIES)[0]
    assert DETECTION.rows(detections()[:0], 5, CATEGORIES) == []


def test_pycocotools_reads_both_files(tmp_path):
    write(tmp_path, pictures("a.jpg", "b.png", "c.jpg"))
    truth = COCO(str(tmp_path / "images.json"))
    results = truth.loadRes(str(tmp_path / "predictions.json"))
    assert len(results.anns) == 6 and results.getImgIds() == [1, 2, 3]
    names = {truth.cats[entry["category_id"]]["name"] for entry in results.anns.values()}
    assert names == {"date", "fig"}
    assert results.annToMask(results.anns[1]).sum() == 26 * 26
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"a.jpg", "b.png", "c.jpg", "images.json", "predictions.json"}


def test_images_without_detections(tmp_path):
    images = write(tmp_path, pictures("a.png"), detections()[:0])["images"]
    assert json.loads((tmp_path / "predictions.json").read_text()) == []
    assert images == [
        dict(id=1, file_name="photos/a.png", width=80, height=60, annotated="a.png"),
    ]
    drawn = np.asarray(Image.open(tmp_path / "a.png"))
    assert drawn.shape == (480, 640, 3) and np.ptp(drawn) == 0


def test_masks_are_drawn_in_the_colour_of_the_class(tmp_path):
    [frame] = pictures("a.png")
    frame.image[:] = (200, 100, 100)  # blue above red
    write(tmp_path, [frame], detections(count=1))
    drawn = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    assert drawn[20, 20].tolist() == [100, 100, 200]
    inside = drawn[35 * 8, 55 * 8]
    colour = drawn[20, 20] * 0.65 + 0.35 * np.array(class_colour(1))
    assert np.abs(inside - colour).max() < 4


def test_large_pictures_keep_their_size():
    for size, drawn in (((490, 500),) * 2, ((100, 2000),) * 2, ((1, 1), (480, 480))):
        assert DETECTION.draw(gray(*size), detections(size), CATEGORIES).shape == (*drawn, 3)


def test_names_never_collide(tmp_path):
    files = ["x/a.jpg", "y/a.jpg", "a.JPG", "a.png", "a.tif", "a-2.jpg"]
    images = write(tmp_path, pictures(*files))["images"]
    names = [image["annotated"] for image in images]
    assert names == ["a.jpg", "a-2.jpg", "a-3.JPG", "a.png", "a-2.png", "a-2-2.jpg"]
    assert [image["file_name"] for image in images] == [f"photos/{name}" for name in files]


def test_inputs_are_not_overwritten(tmp_path):
    source = tmp_path / "a.png"
    Image.new("RGB", (80, 60)).save(source)
    before = source.read_bytes()
    images = write(tmp_path, [Frame(Picture(source), 0, gray())])["images"]
    assert source.read_bytes() == before
    assert images[0]["annotated"] == "a-2.png" and (tmp_path / "a-2.png").exists()


class Clip(Video):
    def __init__(self, path, fps):
        self.path, self.fps, self.count = Path(path), fps, 0


@pytest.mark.parametrize("fps", [6.0, 12.5, 29.97])
def test_videos(tmp_path, fps):
    first, second = Clip("one.avi", fps), Clip("one.mp4", 5.0)
    size = (487, 641)  # not enlarged, and odd
    frames = [Frame(first, i, np.full((*size, 3), 50 * i, np.uint8), i / fps) for i in range(4)]
    frames.append(Frame(second, 0, gray(), 0.0))
    images = write(tmp_path, frames, detections(size))["images"]
    assert [image["annotated"] for image in images] == ["one.mp4"] * 4 + ["one-2.mp4"]
    assert [image["frame"] for image in images] == [0, 1, 2, 3, 0]
    assert images[3]["seconds"] == pytest.approx(3 / fps, abs=1e-6)
    assert (images[0]["width"], images[0]["height"]) == (641, 487)
    video = cv2.VideoCapture(str(tmp_path / "one.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, abs=0.002)
    written = []
    while (read := video.read())[0]:
        written.append(read[1])
    assert [frame.shape for frame in written] == [(488, 642, 3)] * 4
    assert [round(frame[300:, 300:].mean(), -1) for frame in written] == [0, 50, 100, 150]
    colours = np.ptp(written[1], axis=2)
    assert colours[20:50, 40:70].max() > 40 > colours[300:].max()


def test_an_annotated_video_has_the_times_of_its_source(tmp_path):
    times = [3.0, 3.04, 3.5, 9.0]
    clip = Clip("caf\udce9.mkv", 25.0)
    images = write(tmp_path, [Frame(clip, i, gray(), time) for i, time in enumerate(times)])
    assert [image["seconds"] for image in images["images"]] == times
    with open_video(tmp_path / "caf\udce9.mp4") as video:
        np.testing.assert_allclose(video.times, np.array(times) - 3, atol=1e-3)


def test_frames_that_change_their_size_stay_in_the_video(tmp_path):
    clip = Clip("one.avi", 5.0)
    write(tmp_path, [Frame(clip, 0, gray(480, 640), 0.0), Frame(clip, 1, gray(600, 500), 0.2)])
    video = cv2.VideoCapture(str(tmp_path / "one.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 2


@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError])
def test_results_are_kept_after_an_exception(tmp_path, fault):
    clip = Clip("clip.avi", 5.0)
    with pytest.raises(fault), open_results(tmp_path, PREDICTOR, []) as results:
        results.add(Frame(clip, 0, gray(), 0.0), detections())
        results.add(Frame(clip, 1, gray(), 0.2), detections())
        raise fault
    assert len(json.loads((tmp_path / "predictions.json").read_text())) == 4
    assert len(json.loads((tmp_path / "images.json").read_text())["images"]) == 2
    video = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 2
    assert not list(tmp_path.glob("*.partial"))


def test_a_full_disk_is_a_user_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to .*file.*choose another --output"):
        make_folder(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be written to .*file/below"):
        make_folder(tmp_path / "file" / "below")

    frames = pictures("a.png", "b.jpg")
    write(tmp_path / "out", frames[:1])
    write_bytes = Path.write_bytes

    def full(path, content):
        write_bytes(path, content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device.*free some space"):
        write(tmp_path / "out", frames[1:])
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == []
    assert not (tmp_path / "out" / "b.jpg").exists()
