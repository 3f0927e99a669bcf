"""What the model of any config sees in pictures and videos: ``python -m mvit_det.predict``."""

from mvit_det.predict.predictor import Predictor

__all__ = ["Predictor"]
