"""Weights: read any published format safely, fit them to a model, convert between formats."""

from mvit_det.checkpoint.fitting import Fitted, fit
from mvit_det.checkpoint.weights import Weights, read_weights

__all__ = ["Fitted", "Weights", "fit", "read_weights"]
