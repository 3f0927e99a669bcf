"""Recognition: classify images, clips, and persons in clips (paper, sections 5.1 and 6)."""

from mvit_det.recognition.action import ActionDetector
from mvit_det.recognition.backbone import CLIP_ARGUMENTS, ClassifierMViT
from mvit_det.recognition.recognizer import Recognizer

# earlier names, which saved configs and custom code may use
MViT = ClassifierMViT
OF_CLIPS = CLIP_ARGUMENTS

__all__ = ["CLIP_ARGUMENTS", "ActionDetector", "ClassifierMViT", "Recognizer"]
