"""Detection: the backbone with Detectron2's face."""

from mvit_det.detection.backbone import MViT

__all__ = ["MViT"]
