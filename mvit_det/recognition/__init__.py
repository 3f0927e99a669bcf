"""Recognition: classify images, clips, and persons in clips (paper, sections 5 and 6)."""

from mvit_det.recognition.action import ActionDetector
from mvit_det.recognition.backbone import OF_CLIPS, ClassifierMViT
from mvit_det.recognition.recognizer import Recognizer

MViT = ClassifierMViT  # its earlier name, which saved configs may use

__all__ = ["ActionDetector", "ClassifierMViT", "OF_CLIPS", "Recognizer"]
