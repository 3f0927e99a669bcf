"""RoI heads: the class, box and mask of each proposal."""

from .box_head import FastRCNNConvFCHead
from .cascade_rcnn import CascadeROIHeads
from .fast_rcnn import FastRCNNOutputLayers
from .mask_head import MaskRCNNConvUpsampleHead
from .roi_heads import StandardROIHeads
