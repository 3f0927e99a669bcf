"""What an evaluation leaves besides its metrics: pictures, and a count of unreadable images."""

from mvit_det.evaluation.pictures import PredictionPictures
from mvit_det.evaluation.unreadable import UnreadableImages

__all__ = ["PredictionPictures", "UnreadableImages"]
