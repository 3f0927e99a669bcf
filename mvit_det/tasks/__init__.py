"""One object per task, with all that is particular to it; a config names its own (`Task`)."""

from mvit_det.tasks.actions import ActionDetection
from mvit_det.tasks.base import Inference, Task
from mvit_det.tasks.classification import Classification
from mvit_det.tasks.config import task_of
from mvit_det.tasks.detection import Detection
from mvit_det.tasks.video import VideoClassification
