"""The action detector of the paper's Table A.2: MViTv2 for clips, with features pooled per box."""

from detectron2.config import LazyCall as L

from mvit_det.recognition import ActionDetector
from mvit_det.tasks import ActionDetection

from .recognizer import mvitv2

model = L(ActionDetector)(
    backbone=mvitv2("S", (16, 224, 224), drop_path_rate=0.4),
    num_classes=80,  # AVA's actions; 60 of them are evaluated
    roi_size=7,
    head_dropout=0.5,
)

task = L(ActionDetection)()
