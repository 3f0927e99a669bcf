"""The MViTv2 network (paper, sections 3 and 4): torch only, no configs, files or logging.

Read ``plan.py`` first, then ``mvit.py``, then ``attention.py``.
"""

from mvit_det.backbone.mvit import MultiscaleTransformer
from mvit_det.backbone.plan import BlockOptions, BlockSpec, multiscale_plan
from mvit_det.backbone.variants import VARIANTS, VIT_B, Variant

MViT = MultiscaleTransformer  # its earlier name, which saved configs and custom code may use

__all__ = [
    "BlockOptions",
    "BlockSpec",
    "MultiscaleTransformer",
    "VARIANTS",
    "VIT_B",
    "Variant",
    "multiscale_plan",
]
