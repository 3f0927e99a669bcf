"""MViTv2 itself (paper sections 3 and 4): torch only, no configs, no files, no logging.

Read ``plan.py`` first, then ``mvit.py``, then ``attention.py``.
"""

from mvit_det.backbone.mvit import MViT
from mvit_det.backbone.plan import BlockSpec, multiscale_plan
from mvit_det.backbone.variants import VARIANTS, Variant

__all__ = ["BlockSpec", "MViT", "VARIANTS", "Variant", "multiscale_plan"]
