"""Recognition: what an image or a clip shows (paper, sections 5 and 6)."""

from mvit_det.recognition.backbone import OF_CLIPS, MViT
from mvit_det.recognition.recognizer import Recognizer

__all__ = ["MViT", "OF_CLIPS", "Recognizer"]
