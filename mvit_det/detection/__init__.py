"""Detection: the backbone with Detectron2's face."""

from .backbone import MViT

__all__ = ["MViT"]
