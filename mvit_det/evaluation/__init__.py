"""Evaluators: metrics, saved predictions, pictures, and the number of unreadable images."""

from mvit_det.evaluation.actions.evaluator import ActionMetrics
from mvit_det.evaluation.classification.evaluator import ClassificationAccuracy
from mvit_det.evaluation.detection.evaluator import CocoMetrics
from mvit_det.evaluation.detection.pictures import PredictionPictures
from mvit_det.evaluation.unreadable import UnreadableImages
from mvit_det.evaluation.video.evaluator import ViewAccuracy
