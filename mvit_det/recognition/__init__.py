"""Recognition: what an image, a clip, or a person in a clip shows (paper, sections 5 and 6)."""

from mvit_det.recognition.action import ActionDetector
from mvit_det.recognition.backbone import OF_CLIPS, MViT
from mvit_det.recognition.recognizer import Recognizer

__all__ = ["ActionDetector", "MViT", "OF_CLIPS", "Recognizer"]
