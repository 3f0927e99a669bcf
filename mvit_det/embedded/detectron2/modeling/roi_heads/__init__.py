"""What happens to each proposal: its class, its box, its mask."""

from .box_head import FastRCNNConvFCHead
from .fast_rcnn import FastRCNNOutputLayers
from .mask_head import MaskRCNNConvUpsampleHead
from .roi_heads import StandardROIHeads
