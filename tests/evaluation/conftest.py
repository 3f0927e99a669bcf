"""Fixtures of all tests of evaluation."""

import pytest

PLOTS = {
    "actions": ("draw_class_ap", "draw_action_curves"),
    "classification": ("draw_class_accuracy", "draw_class_confusion"),
    "detection": ("draw_coco_curves", "draw_detection_confusion"),
}


@pytest.fixture
def no_plots(monkeypatch):
    """Skip the plots, which take most of the time of an evaluation."""
    for room, names in PLOTS.items():
        for name in names:
            path = f"mvit_det.evaluation.{room}.report.{name}"
            monkeypatch.setattr(path, lambda *args, **options: None)
