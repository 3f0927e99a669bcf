"""Whole models: from a list of inputs to losses or results."""

from .rcnn import GeneralizedRCNN
