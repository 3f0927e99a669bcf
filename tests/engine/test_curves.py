"""The curves of metrics.json: read, smoothed and drawn."""

import json

import numpy as np
import pytest
from PIL import Image

from mvit_det.engine.curves import draw_curves, read_curves, smooth


def write(path, rows, tail=""):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return path


def test_later_lines_count_and_broken_ones_are_skipped(tmp_path):
    rows = [
        {"iteration": 19, "total_loss": 4.0, "lr": 0.1},
        {"iteration": 39, "total_loss": 3.0, "lr": 0.1},
        {"iteration": 59, "total_loss": 9.0},  # then killed, and resumed from 39
        {"iteration": 39, "bbox/AP": 12.5},
        {"iteration": 59, "total_loss": 2.0, "note": "text", "segm/AP": float("nan")},
        {"total_loss": 7.0},
    ]
    path = write(tmp_path / "metrics.json", rows, tail='[1]\n3\n\n{"iteration": 79, "total_l')
    curves = read_curves(path)
    assert set(curves) == {"total_loss", "lr", "bbox/AP"}
    assert curves["total_loss"][0].tolist() == [19, 39, 59]
    assert curves["total_loss"][1].tolist() == [4.0, 3.0, 2.0]
    assert curves["bbox/AP"][1].tolist() == [12.5]


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_smoothing_keeps_straight_lines(count):
    line = np.linspace(3, 1, count)
    assert np.allclose(smooth(line), line)
    assert smooth(line, share=0.5).shape == (count,)


def test_smoothing_is_a_centred_mean():
    values = np.array([0.0, 0, 0, 9, 0, 0, 0])
    assert np.allclose(smooth(values, share=0.3), [0, 0, 3, 3, 3, 0, 0])


def test_pictures_are_drawn(tmp_path):
    rows = [
        {"iteration": i, "total_loss": 5 / i, "loss_cls": 3 / i, "loss_mask": 2 / i, "lr": 0.1}
        for i in range(20, 200, 20)
    ]
    rows.append({"iteration": 199, "bbox/AP50": 70.0, "segm/AP": 40.0, "bbox/AP-circle": 3.0})
    path = write(tmp_path / "metrics.json", rows)
    written = draw_curves(path, tmp_path / "pictures")
    assert [p.name for p in written] == ["losses.png", "ap.png"]
    for picture in written:
        with Image.open(picture) as image:
            assert min(image.size) > 400 and np.asarray(image.convert("L")).std() > 10


def test_only_curves_with_data_are_drawn(tmp_path):
    path = write(tmp_path / "metrics.json", [{"iteration": 9, "my_set/bbox/AP": 30.0}])
    assert [p.name for p in draw_curves(path, tmp_path)] == ["ap.png"]
    path = write(tmp_path / "metrics.json", [{"iteration": 9, "total_loss": 1.0}])
    assert [p.name for p in draw_curves(path, tmp_path)] == ["losses.png"]
    assert draw_curves(write(tmp_path / "metrics.json", []), tmp_path) == []
    assert draw_curves(tmp_path / "absent.json", tmp_path) == []


@pytest.mark.parametrize(
    ("task", "name", "metrics", "labels"),
    [
        (
            "classification",
            "accuracy.png",
            {"top1": 40.0, "top5": 80.0},
            ["top1, 59.0 at the end", "top5, 99.0 at the end"],
        ),
        ("actions", "map.png", {"mAP50": 26.0}, ["mAP50, 45.0 at the end"]),
    ],
)
def test_curves_of_the_main_metrics_of_a_task(task, name, metrics, labels, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    original = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda axes, *a, **k: drawn.append(k.get("label")) or original(axes, *a, **k)
    )
    others = {"mean_class_accuracy": 35.0, "top1-fig": 12.0, "AP-stand": 12.0}
    rows = [
        {"iteration": i, **{f"{task}/{key}": v + i for key, v in {**metrics, **others}.items()}}
        for i in (9, 19)
    ]
    written = draw_curves(write(tmp_path / "metrics.json", rows), tmp_path)
    assert [p.name for p in written] == [name]
    assert drawn == labels
    with Image.open(written[0]) as image:
        assert min(image.size) > 400 and np.asarray(image.convert("L")).std() > 10
