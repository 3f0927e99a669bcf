"""Detection models: backbones, region proposals, RoI heads, and complete detectors."""

from .backbone import BACKBONE_REGISTRY, FPN, Backbone
from .meta_arch import GeneralizedRCNN
from .postprocessing import detector_postprocess
from .roi_heads import FastRCNNOutputLayers, StandardROIHeads
