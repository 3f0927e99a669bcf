"""Prediction on images and videos with the model of any config: ``python -m mvit_det.predict``."""

from mvit_det.predict.predictor import Predictor

__all__ = ["Predictor"]
