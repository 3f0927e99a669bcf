"""Checkpoints of training and of the published model zoo."""

from .detection_checkpoint import DetectionCheckpointer
