"""Detection: the backbone with Detectron2's interface, testing with Soft-NMS and in several views."""

from mvit_det.detection.backbone import MViT
from mvit_det.detection.rcnn import GeneralizedRCNN
from mvit_det.detection.soft_nms import SoftNMS, soft_nms

__all__ = ["GeneralizedRCNN", "MViT", "SoftNMS", "soft_nms"]
