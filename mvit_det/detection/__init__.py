"""Detection: the backbone with Detectron2's interface, Soft-NMS and multi-view testing."""

from mvit_det.detection.backbone import MViT, ResampledMViT
from mvit_det.detection.rcnn import GeneralizedRCNN
from mvit_det.detection.soft_nms import SoftNMS, soft_nms

__all__ = ["GeneralizedRCNN", "MViT", "ResampledMViT", "SoftNMS", "soft_nms"]
