"""MViTv2 itself (paper sections 3 and 4): torch only, no configs, no files, no logging.

Read ``plan.py`` first, then ``mvit.py``, then ``attention.py``.
"""

from .mvit import MViT
from .plan import BlockSpec, multiscale_plan
from .variants import VARIANTS, Variant

__all__ = ["BlockSpec", "MViT", "VARIANTS", "Variant", "multiscale_plan"]
