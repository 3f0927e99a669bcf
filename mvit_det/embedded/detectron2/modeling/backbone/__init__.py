"""Backbones: networks from an image to feature maps."""

from .backbone import BACKBONE_REGISTRY, Backbone
from .fpn import FPN
