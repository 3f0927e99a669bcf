"""Detections in pictures and videos, by the model of any config: ``python -m mvit_det.predict``."""

from mvit_det.predict.predictor import Predictor

__all__ = ["Predictor"]
