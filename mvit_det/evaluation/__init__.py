"""What an evaluation leaves: metrics, predictions, pictures, and a count of unreadable images."""

from mvit_det.evaluation.actions import ActionMetrics
from mvit_det.evaluation.classification import ClassificationAccuracy
from mvit_det.evaluation.coco import CocoMetrics
from mvit_det.evaluation.pictures import PredictionPictures
from mvit_det.evaluation.unreadable import UnreadableImages
from mvit_det.evaluation.views import ViewAccuracy

__all__ = [
    "ActionMetrics",
    "ClassificationAccuracy",
    "CocoMetrics",
    "PredictionPictures",
    "UnreadableImages",
    "ViewAccuracy",
]
