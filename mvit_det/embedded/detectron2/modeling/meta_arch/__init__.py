"""Complete detectors: from a list of inputs to losses or detections."""

from .rcnn import GeneralizedRCNN
