"""One `Task` object per task holds everything specific to it; a config names its task."""

from mvit_det.tasks.actions import ActionDetection
from mvit_det.tasks.base import Inference, Task
from mvit_det.tasks.classification import Classification
from mvit_det.tasks.config import task_of
from mvit_det.tasks.detection import Detection
from mvit_det.tasks.video import VideoClassification
