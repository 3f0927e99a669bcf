"""The last lines of a run, by task."""

import logging

import pytest
from omegaconf import OmegaConf

from mvit_det.engine import summarize


@pytest.fixture
def told(tmp_path, caplog, monkeypatch):
    """What `summarize` logs of a run in a folder with the given files."""
    # Detectron2's setup_logger, which other tests call, keeps the log from caplog
    monkeypatch.setattr(logging.getLogger("mvit_det"), "propagate", True)

    def run(model: dict, results: dict, *files: str) -> str:
        for name in files:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("")
        train = dict(output_dir=str(tmp_path))
        with caplog.at_level(logging.INFO):
            summarize(OmegaConf.create(dict(model=model, train=train)), results)
        return caplog.text

    return run


def test_of_a_classifier(told, tmp_path):
    metrics = dict(top1=81.26, top5=95.0, mean_class_accuracy=80.0)
    metrics["top1-fig"] = 70.0
    files = ("accuracy.png", "classification_predictions.npz", "pictures/class_accuracy.png")
    results = {"classification": metrics, "unreadable": {"images": 3}}
    text = told(dict(num_classes=1000), results, *files)
    assert "Done. classification/top1 81.3, classification/top5 95.0\n" in text
    for name in files:
        assert f"  {tmp_path / name}  " in text
    assert "ap.png" not in text
    assert "--config-file configs/imagenet/mvitv2_t_in1k.py \\\n" in text
    assert "      --train-images FOLDER --val-images FOLDER  (one folder per class)" in text
    assert "--train-json" not in text


def test_of_a_detector(told, tmp_path):
    model = dict(roi_heads=dict(num_classes=80))
    text = told(model, {"bbox": {"AP": 50.04, "AP50": 70.0, "AP75": 3.0}}, "ap.png")
    assert "Done. bbox/AP 50.0, bbox/AP50 70.0\n" in text and str(tmp_path / "ap.png") in text
    assert "--config-file configs/mask_rcnn_mvitv2_t_3x.py \\\n" in text
    assert "--train-json FILE --train-images FOLDER --val-json FILE --val-images FOLDER" in text


def test_without_results(told):
    assert "Done.\n" in told(dict(num_classes=5), {})


def test_of_a_recognizer_of_clips(told, tmp_path):
    model = dict(backbone=dict(input_size=[16, 224, 224]), num_classes=400)
    text = told(model, {"classification": dict(top1=81.0, top5=94.6)}, "video_scores.npz")
    assert f"  {tmp_path / 'video_scores.npz'}  " in text
    assert "--config-file configs/kinetics/mvitv2_s_16x4_k400.py \\\n" in text
    assert "--train-videos FOLDER --val-videos FOLDER" in text and " VIDEOS --output" in text


def test_of_a_detector_of_actions(told, tmp_path):
    model = dict(backbone=dict(input_size=[16, 224, 224]), roi_size=7, num_classes=80)
    files = ("action_detections.csv", "map.png", "pictures/action_ap.png")
    results = {"actions": {"mAP50": 26.84, "AP-stand": 80.0}}
    text = told(model, results, *files)
    assert "Done. actions/mAP50 26.8\n" in text
    for name in files:
        assert f"  {tmp_path / name}  " in text
    assert "--config-file configs/ava/mvitv2_s_16x4_k400_ava.py \\\n" in text
    assert "--train-actions CSV" in text and " VIDEOS --boxes CSV --output" in text
